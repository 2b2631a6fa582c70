using E2LLM.Weights;

namespace E2LLM.Execution;

/// <summary>The rows that a piece's tokens pass through inside a layer. Owns its memory; sized once.</summary>
internal sealed unsafe class ExecutionBuffers : IDisposable
{
    private readonly AlignedBuffer _queries, _keys, _values, _up, _projected;

    internal ExecutionBuffers(ModelShape shape, ModelWeights weights, int maxTokenCount)
    {
        MaxTokenCount = maxTokenCount;
        IEnumerable<LayerWeights> layers = Enumerable.Range(weights.Layers.Start, weights.Layers.Count).Select(weights.Layer);
        Normed = new ActivationBuffer(maxTokenCount, shape.HiddenSize, layers.SelectMany(layer => new[] { layer.Query, layer.Key, layer.Value, layer.Gate, layer.Up }));
        Final = new ActivationBuffer(maxTokenCount, shape.HiddenSize, [weights.Head]);
        Attended = new ActivationBuffer(maxTokenCount, shape.QueryWidth, layers.Select(layer => layer.AttentionOutput));
        Gated = new ActivationBuffer(maxTokenCount, shape.FeedForwardSize, layers.Select(layer => layer.Down));
        _queries = Rows(shape.QueryWidth);
        _keys = Rows(shape.KvWidth);
        _values = Rows(shape.KvWidth);
        _up = Rows(shape.FeedForwardSize);
        _projected = Rows(shape.HiddenSize);
    }

    /// <summary>Rows in each buffer.</summary>
    internal int MaxTokenCount { get; }

    /// <summary>Normalised hidden states, <c>[tokens][HiddenSize]</c>.</summary>
    internal ActivationBuffer Normed { get; }

    /// <summary>Hidden states normalised for the head, which may be of another type than the layers, <c>[tokens][HiddenSize]</c>.</summary>
    internal ActivationBuffer Final { get; }

    /// <summary>What attention gives, <c>[tokens][QueryWidth]</c>.</summary>
    internal ActivationBuffer Attended { get; }

    /// <summary>Gate, then gated rows, <c>[tokens][FeedForwardSize]</c>.</summary>
    internal ActivationBuffer Gated { get; }

    /// <summary><c>[tokens][QueryWidth]</c>.</summary>
    internal float* Queries => _queries.Floats;

    /// <summary><c>[tokens][KvWidth]</c>.</summary>
    internal float* Keys => _keys.Floats;

    /// <summary><c>[tokens][KvWidth]</c>.</summary>
    internal float* Values => _values.Floats;

    /// <summary><c>[tokens][FeedForwardSize]</c>.</summary>
    internal float* Up => _up.Floats;

    /// <summary>What goes back to the residual stream, <c>[tokens][HiddenSize]</c>.</summary>
    internal float* Projected => _projected.Floats;

    public void Dispose()
    {
        Normed.Dispose();
        Final.Dispose();
        Attended.Dispose();
        Gated.Dispose();
        _queries.Dispose();
        _keys.Dispose();
        _values.Dispose();
        _up.Dispose();
        _projected.Dispose();
    }

    private AlignedBuffer Rows(int width) => new((long)MaxTokenCount * width * sizeof(float));
}
