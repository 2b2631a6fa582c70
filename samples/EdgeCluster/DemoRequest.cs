using E2LLM.Sampling;

namespace E2LLM.Samples.EdgeCluster;

/// <summary>One prompt and how it is to be continued.</summary>
internal sealed record DemoRequest(string Name, string Prompt, IReadOnlyList<int> PromptIds, int MaxTokens, SamplingOptions Sampling)
{
    private static readonly string[] Prompts =
    [
        "Once upon a time",
        "One day, a boy named Tim went to the park with his dog.",
        "Tom had a new red ball.",
        "Lily and Ben were playing in the garden.",
        "In a far away land there lived a wise old owl.",
        "The princess opened the door and saw",
    ];

    /// <summary>Half of the requests take the best token each time, the other half draw from the distribution with a seed.</summary>
    public static IReadOnlyList<DemoRequest> Create(DemoOptions options, ITokenizer tokenizer, int contextLength)
    {
        string[] prompts = options.Prompt is { } own ? [own, own] : Prompts;
        var requests = new DemoRequest[prompts.Length];
        for (int i = 0; i < prompts.Length; i++)
        {
            IReadOnlyList<int> ids = tokenizer.Encode(prompts[i]);
            if (ids.Count >= contextLength)
            {
                throw new ArgumentException($"the prompt has {ids.Count} tokens; the model's context holds {contextLength}.");
            }

            SamplingOptions sampling = i % 2 == 0
                ? new SamplingOptions()
                : new SamplingOptions { Temperature = 0.7f, TopP = 0.95f, Seed = options.Seed + (ulong)i };
            requests[i] = new DemoRequest($"{(char)('A' + i)}", prompts[i], ids, Math.Min(options.MaxTokens, contextLength - ids.Count), sampling);
        }

        return requests;
    }
}
