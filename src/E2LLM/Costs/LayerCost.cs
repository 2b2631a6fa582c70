namespace E2LLM.Costs;

/// <summary>What one transformer layer needs. Immutable.</summary>
public sealed record LayerCost
{
    /// <summary>Bytes of all weights of the layer, every expert included.</summary>
    public required long WeightBytes { get; init; }

    /// <summary>Bytes of one expert of a mixture-of-experts layer; zero for a dense layer.</summary>
    public long ExpertBytes { get; init; }

    /// <summary>Floating-point operations per token besides attention over the context: 2 per weight that a token meets.</summary>
    public required double FlopsPerToken { get; init; }

    /// <summary>Operations per (token, context token) pair: <c>4 * HeadCount * HeadDim</c>, 2 for the scores and 2 for the weighted values.</summary>
    public required double AttentionFlopsPerPair { get; init; }

    /// <summary>Bytes of keys and values of one position.</summary>
    public required long KvBytesPerToken { get; init; }

    /// <summary>Positions that a sliding-window layer looks back; zero: all.</summary>
    public int Window { get; init; }

    /// <summary>Positions of a context of <paramref name="contextTokens"/> that this layer keeps and reads: <c>min(context, window)</c>.</summary>
    public double VisibleTokens(double contextTokens) => Window > 0 ? Math.Min(contextTokens, Window) : contextTokens;
}
