using E2LLM.Gguf;

namespace E2LLM.Weights;

/// <summary>Which tensors a model has, by GGUF's names: the one place that knows them. Stateless.</summary>
internal static class TensorRequests
{
    internal static TensorRequest Embedding(ModelShape shape) => new("token_embd.weight", shape.HiddenSize, shape.VocabularySize);

    internal static TensorRequest FinalNorm(ModelShape shape) => new("output_norm.weight", shape.HiddenSize);

    internal static TensorRequest Head(ModelShape shape) =>
        shape.TiedHead ? Embedding(shape) : new("output.weight", shape.HiddenSize, shape.VocabularySize);

    /// <summary>Divisors of the rotary frequencies (llama-3); an asked for where the shape says so.</summary>
    internal static TensorRequest RopeFactors(ModelShape shape) => new("rope_freqs.weight", shape.RopeDimensionCount / 2);

    internal static TensorRequest AttentionNorm(ModelShape shape, int layer) => new($"blk.{layer}.attn_norm.weight", shape.HiddenSize);

    internal static TensorRequest Query(ModelShape shape, int layer) => new($"blk.{layer}.attn_q.weight", shape.HiddenSize, shape.QueryWidth);

    internal static TensorRequest Key(ModelShape shape, int layer) => new($"blk.{layer}.attn_k.weight", shape.HiddenSize, shape.KvWidth);

    internal static TensorRequest Value(ModelShape shape, int layer) => new($"blk.{layer}.attn_v.weight", shape.HiddenSize, shape.KvWidth);

    internal static TensorRequest QueryBias(ModelShape shape, int layer) => new($"blk.{layer}.attn_q.bias", shape.QueryWidth);

    internal static TensorRequest KeyBias(ModelShape shape, int layer) => new($"blk.{layer}.attn_k.bias", shape.KvWidth);

    internal static TensorRequest ValueBias(ModelShape shape, int layer) => new($"blk.{layer}.attn_v.bias", shape.KvWidth);

    internal static TensorRequest QueryNorm(ModelShape shape, int layer) => new($"blk.{layer}.attn_q_norm.weight", shape.HeadDim);

    internal static TensorRequest KeyNorm(ModelShape shape, int layer) => new($"blk.{layer}.attn_k_norm.weight", shape.HeadDim);

    internal static TensorRequest AttentionOutput(ModelShape shape, int layer) => new($"blk.{layer}.attn_output.weight", shape.QueryWidth, shape.HiddenSize);

    internal static TensorRequest FeedForwardNorm(ModelShape shape, int layer) => new($"blk.{layer}.ffn_norm.weight", shape.HiddenSize);

    internal static TensorRequest Gate(ModelShape shape, int layer) => new($"blk.{layer}.ffn_gate.weight", shape.HiddenSize, shape.FeedForwardSize);

    internal static TensorRequest Up(ModelShape shape, int layer) => new($"blk.{layer}.ffn_up.weight", shape.HiddenSize, shape.FeedForwardSize);

    internal static TensorRequest Down(ModelShape shape, int layer) => new($"blk.{layer}.ffn_down.weight", shape.FeedForwardSize, shape.HiddenSize);

    /// <summary>Every tensor of one layer.</summary>
    internal static IEnumerable<TensorRequest> Layer(ModelShape shape, int layer)
    {
        yield return AttentionNorm(shape, layer);
        yield return Query(shape, layer);
        yield return Key(shape, layer);
        yield return Value(shape, layer);
        if (shape.HasQkvBias)
        {
            yield return QueryBias(shape, layer);
            yield return KeyBias(shape, layer);
            yield return ValueBias(shape, layer);
        }

        if (shape.HasQkNorm)
        {
            yield return QueryNorm(shape, layer);
            yield return KeyNorm(shape, layer);
        }

        yield return AttentionOutput(shape, layer);
        yield return FeedForwardNorm(shape, layer);
        yield return Gate(shape, layer);
        yield return Up(shape, layer);
        yield return Down(shape, layer);
    }
}
