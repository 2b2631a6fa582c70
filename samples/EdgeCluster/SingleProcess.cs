using E2LLM.Generation;

namespace E2LLM.Samples.EdgeCluster;

/// <summary>The whole model in this one process: what every token of the cluster is compared with.</summary>
internal sealed class SingleProcess : IDisposable
{
    private readonly TextGenerator _generator;

    private SingleProcess(TextGenerator generator) => _generator = generator;

    public ITokenizer Tokenizer => _generator.Tokenizer;

    public static SingleProcess Load(string modelPath) => new(TextGenerator.Load(modelPath));

    /// <summary>Whether every token of every result is the one that this process generates, or could not be expected to be; says so in one line.</summary>
    public async Task<bool> AgreesAsync(IReadOnlyList<DemoResult> results, bool isLossless, TextWriter output, CancellationToken ct)
    {
        int tokens = 0, sampled = 0;
        foreach (DemoResult result in results)
        {
            var options = new GenerationOptions { MaxTokenCount = result.Request.MaxTokens, Sampling = result.Request.Sampling };
            int position = 0;
            await foreach (GeneratedToken token in _generator.GenerateAsync(result.Request.PromptIds, options, ct))
            {
                if (position >= result.Ids.Count || result.Ids[position] != token.Id)
                {
                    output.WriteLine($"DIFFERENT: token {position} of request {result.Request.Name} is {(position < result.Ids.Count ? result.Ids[position] : "missing")}, "
                        + $"a single process gives {token.Id}{(isLossless ? "." : "; the codec of keys and values is lossy, so that may be.")}");
                    return !isLossless;
                }

                position++;
            }

            if (position != result.Ids.Count)
            {
                output.WriteLine($"DIFFERENT: request {result.Request.Name} has {result.Ids.Count} tokens, a single process gives {position}.");
                return false;
            }

            tokens += position;
            sampled += result.Request.Sampling.Temperature > 0 ? 1 : 0;
        }

        output.WriteLine($"SAME: each of the {tokens} tokens is the one that a single process gives ({results.Count - sampled} greedy requests, {sampled} sampled).");
        return true;
    }

    public void Dispose() => _generator.Dispose();
}
