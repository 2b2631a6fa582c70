using E2LLM.Tests.Kernels;

namespace E2LLM.Tests.Support;

/// <summary>
/// A small model with random weights, as the bytes of a GGUF file and, where they are F32, as plain arrays for an oracle. Norms and biases are always F32.
/// </summary>
internal sealed class RandomModel
{
    private readonly GgufBuilder _builder;
    private readonly Random _random;
    private readonly TensorType _matrixType;

    public RandomModel(ModelShape shape, int seed, TensorType matrixType = TensorType.F32)
    {
        Shape = shape;
        _matrixType = matrixType;
        _random = new Random(seed);
        string a = shape.Architecture;
        _builder = new GgufBuilder()
            .String("general.architecture", a)
            .String("general.name", "random")
            .UInt32($"{a}.context_length", (uint)shape.ContextLength)
            .UInt32($"{a}.embedding_length", (uint)shape.HiddenSize)
            .UInt32($"{a}.block_count", (uint)shape.LayerCount)
            .UInt32($"{a}.feed_forward_length", (uint)shape.FeedForwardSize)
            .UInt32($"{a}.attention.head_count", (uint)shape.HeadCount)
            .UInt32($"{a}.attention.head_count_kv", (uint)shape.KvHeadCount)
            .UInt32($"{a}.attention.key_length", (uint)shape.HeadDim)
            .UInt32($"{a}.attention.value_length", (uint)shape.HeadDim)
            .UInt32($"{a}.vocab_size", (uint)shape.VocabularySize)
            .Single($"{a}.rope.freq_base", shape.RopeTheta)
            .Single($"{a}.attention.layer_norm_rms_epsilon", shape.RmsNormEpsilon);
        Add("token_embd.weight", shape.HiddenSize, shape.VocabularySize, 1f);
        for (int layer = 0; layer < shape.LayerCount; layer++)
        {
            AddLayer($"blk.{layer}.");
        }

        Add("output_norm.weight", shape.HiddenSize, 1, 1f);
        if (!shape.TiedHead)
        {
            Add("output.weight", shape.HiddenSize, shape.VocabularySize, 0.3f);
        }

        if (shape.HasRopeFrequencyFactors)
        {
            Add("rope_freqs.weight", shape.RopeDimensionCount / 2, 1, 0.2f, around: 2f);
        }
    }

    public ModelShape Shape { get; }

    /// <summary>Every tensor's elements, row-major, by name.</summary>
    public Dictionary<string, float[]> Tensors { get; } = [];

    public byte[] File() => _builder.Build();

    /// <summary>Adds metadata, a tokenizer for example.</summary>
    public RandomModel With(Action<GgufBuilder> change)
    {
        change(_builder);
        return this;
    }

    public static ModelShape Llama(bool factors = false) => new()
    {
        Name = "random", Architecture = "llama", LayerCount = 2, HiddenSize = 24, HeadCount = 6, KvHeadCount = 2, HeadDim = 4, FeedForwardSize = 36,
        VocabularySize = 50, ContextLength = 512, RopeDimensionCount = 4, RmsNormEpsilon = 1e-5f, HasRopeFrequencyFactors = factors, RopeTheta = 10_000f,
    };

    public static ModelShape Qwen2() => Llama() with { Architecture = "qwen2", RopeLayout = RopeLayout.Halves, HasQkvBias = true, TiedHead = true };

    public static ModelShape Qwen3() => Llama() with
    {
        Architecture = "qwen3", RopeLayout = RopeLayout.Halves, HasQkNorm = true, HeadDim = 10, RopeDimensionCount = 10, RopeTheta = 1_000_000f,
    };

    private void AddLayer(string prefix)
    {
        Add(prefix + "attn_norm.weight", Shape.HiddenSize, 1, 1f);
        Add(prefix + "attn_q.weight", Shape.HiddenSize, Shape.QueryWidth, 0.3f);
        Add(prefix + "attn_k.weight", Shape.HiddenSize, Shape.KvWidth, 0.3f);
        Add(prefix + "attn_v.weight", Shape.HiddenSize, Shape.KvWidth, 0.3f);
        if (Shape.HasQkvBias)
        {
            Add(prefix + "attn_q.bias", Shape.QueryWidth, 1, 0.5f);
            Add(prefix + "attn_k.bias", Shape.KvWidth, 1, 0.5f);
            Add(prefix + "attn_v.bias", Shape.KvWidth, 1, 0.5f);
        }

        if (Shape.HasQkNorm)
        {
            Add(prefix + "attn_q_norm.weight", Shape.HeadDim, 1, 1f);
            Add(prefix + "attn_k_norm.weight", Shape.HeadDim, 1, 1f);
        }

        Add(prefix + "attn_output.weight", Shape.QueryWidth, Shape.HiddenSize, 0.2f);
        Add(prefix + "ffn_norm.weight", Shape.HiddenSize, 1, 1f);
        Add(prefix + "ffn_gate.weight", Shape.HiddenSize, Shape.FeedForwardSize, 0.3f);
        Add(prefix + "ffn_up.weight", Shape.HiddenSize, Shape.FeedForwardSize, 0.3f);
        Add(prefix + "ffn_down.weight", Shape.FeedForwardSize, Shape.HiddenSize, 0.2f);
    }

    private void Add(string name, int columns, int rows, float scale, float around = 0f)
    {
        TensorType type = rows == 1 ? TensorType.F32 : _matrixType;
        if (TensorTypeGeometry.BlockElementCount(type) > 1)
        {
            byte[] stored = QuantizedData.Rows(type, rows, columns, _random.Next());
            _builder.Tensor(new GgufBuilder.TensorRow(name, (uint)type, [columns, rows]) { Data = stored });
            return;
        }

        float[] values = [.. Enumerable.Range(0, rows * columns).Select(_ => around + (((_random.NextSingle() * 2) - 1) * scale))];
        Tensors.Add(name, values);
        _builder.Tensor(new GgufBuilder.TensorRow(name, (uint)type, rows == 1 ? [columns] : [columns, rows]) { Data = [.. values.SelectMany(v => Encode(v, type))] });
    }

    private static byte[] Encode(float value, TensorType type) => type switch
    {
        TensorType.F16 => BitConverter.GetBytes((Half)value),
        TensorType.BF16 => BitConverter.GetBytes((ushort)(BitConverter.SingleToUInt32Bits(value) >> 16)),
        _ => BitConverter.GetBytes(value),
    };
}
