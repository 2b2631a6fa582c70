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
    /// <param name="options">Prompts, lengths, seed.</param>
    /// <param name="tokenizer">Splits the prompts.</param>
    /// <param name="contextLength">Tokens that prompt and text may have together.</param>
    /// <param name="wave">0 for the first requests, more for those that come later: other names, other seeds.</param>
    public static IReadOnlyList<DemoRequest> Create(DemoOptions options, ITokenizer tokenizer, int contextLength, int wave)
    {
        string[] prompts = options.Prompt is { } own ? [own, own] : Prompts;
        var requests = new DemoRequest[prompts.Length];
        for (int i = 0; i < prompts.Length; i++)
        {
            int number = (wave * prompts.Length) + i;
            IReadOnlyList<int> ids = tokenizer.Encode(prompts[i]);
            if (ids.Count >= contextLength)
            {
                throw new ArgumentException($"the prompt has {ids.Count} tokens; the model's context holds {contextLength}.");
            }

            SamplingOptions sampling = i % 2 == 0
                ? new SamplingOptions()
                : new SamplingOptions { Temperature = 0.7f, TopP = 0.95f, Seed = options.Seed + (ulong)number };
            requests[i] = new DemoRequest($"{(char)('A' + i)}{(wave > 0 ? wave + 1 : "")}", prompts[i], ids, Math.Min(options.MaxTokens, contextLength - ids.Count), sampling);
        }

        return requests;
    }
}
