namespace E2LLM.Weights;

/// <summary>The weights of one transformer layer; null where the model has no such tensor. Owned by its <see cref="ModelWeights"/>.</summary>
internal sealed class LayerWeights
{
    internal required AlignedBuffer AttentionNorm { get; init; }

    internal required WeightMatrix Query { get; init; }

    internal required WeightMatrix Key { get; init; }

    internal required WeightMatrix Value { get; init; }

    internal AlignedBuffer? QueryBias { get; init; }

    internal AlignedBuffer? KeyBias { get; init; }

    internal AlignedBuffer? ValueBias { get; init; }

    /// <summary>Per-head norm of queries, <c>[HeadDim]</c>.</summary>
    internal AlignedBuffer? QueryNorm { get; init; }

    /// <summary>Per-head norm of keys, <c>[HeadDim]</c>.</summary>
    internal AlignedBuffer? KeyNorm { get; init; }

    internal required WeightMatrix AttentionOutput { get; init; }

    internal required AlignedBuffer FeedForwardNorm { get; init; }

    internal required WeightMatrix Gate { get; init; }

    internal required WeightMatrix Up { get; init; }

    internal required WeightMatrix Down { get; init; }

    /// <summary>All there are.</summary>
    internal IEnumerable<IDisposable> Parts => new IDisposable?[]
    {
        AttentionNorm, Query, Key, Value, QueryBias, KeyBias, ValueBias, QueryNorm, KeyNorm, AttentionOutput, FeedForwardNorm, Gate, Up, Down,
    }.OfType<IDisposable>();

    /// <summary>The same in memory of its own.</summary>
    internal LayerWeights Copy() => new()
    {
        AttentionNorm = AttentionNorm.Copy(), Query = Query.Copy(), Key = Key.Copy(), Value = Value.Copy(), QueryBias = QueryBias?.Copy(), KeyBias = KeyBias?.Copy(), ValueBias = ValueBias?.Copy(),
        QueryNorm = QueryNorm?.Copy(), KeyNorm = KeyNorm?.Copy(), AttentionOutput = AttentionOutput.Copy(), FeedForwardNorm = FeedForwardNorm.Copy(), Gate = Gate.Copy(), Up = Up.Copy(), Down = Down.Copy(),
    };
}
