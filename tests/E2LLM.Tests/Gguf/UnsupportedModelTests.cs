using E2LLM.Gguf;
using E2LLM.Tests.Support;
using E2LLM.Tokenization;

namespace E2LLM.Tests.Gguf;

/// <summary>Rows G8 and G10: files that are valid GGUF but no model that can be run. Each is refused by name before a tensor is read.</summary>
public class UnsupportedModelTests
{
    public static TheoryData<string> MissingKeys =>
    [
        "general.architecture", "llama.context_length", "llama.embedding_length", "llama.block_count", "llama.feed_forward_length",
        "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon",
    ];

    public static TheoryData<string, uint> WrongNumbers => new()
    {
        { "context_length", 0 }, { "context_length", uint.MaxValue }, { "embedding_length", 0 }, { "embedding_length", 7 }, { "block_count", 0 },
        { "block_count", 1u << 31 }, { "feed_forward_length", 0 }, { "attention.head_count", 0 }, { "attention.head_count", 3 },
        { "attention.head_count", uint.MaxValue }, { "attention.head_count_kv", 0 }, { "attention.head_count_kv", 3 }, { "attention.head_count_kv", 4 },
        { "attention.key_length", 0 }, { "attention.key_length", 3 }, { "attention.key_length", int.MaxValue - 1 }, { "rope.dimension_count", 0 },
    };

    public static TheoryData<string, float> WrongFloats => new()
    {
        { "attention.layer_norm_rms_epsilon", 0 }, { "attention.layer_norm_rms_epsilon", float.NaN }, { "attention.layer_norm_rms_epsilon", float.PositiveInfinity },
        { "attention.layer_norm_rms_epsilon", -1e-5f }, { "rope.freq_base", 0 }, { "rope.freq_base", float.NaN }, { "rope.freq_base", float.NegativeInfinity },
        { "rope.scaling.factor", 0 }, { "rope.scaling.factor", float.NaN }, { "rope.scale_linear", float.PositiveInfinity },
    };

    [Theory]
    [MemberData(nameof(MissingKeys))]
    public void Read_KeyMissing_NamesIt(string key) => AssertFormat(TinyModel.Whole().Without(key), key);

    [Theory]
    [MemberData(nameof(MissingKeys))]
    public void Read_KeyOfAnotherType_NamesIt(string key) => AssertFormat(TinyModel.Whole().Without(key).Bool(key, 1), key);

    [Theory]
    [MemberData(nameof(WrongNumbers))]
    public void Read_NumberOutOfRange_IsRejected(string key, uint value)
    {
        // Some are caught at the key that they do not fit with.
        string whole = $"llama.{key}";
        GgufBuilder builder = TinyModel.Whole().Without(whole).UInt32(whole, value).Without("llama.attention.value_length");
        if (key == "attention.key_length")
        {
            builder.UInt32("llama.attention.value_length", value);
        }

        using GgufFile file = GgufFile.Read(builder.Build());
        var error = Assert.Throws<GgufFormatException>(() => ModelShapeReader.Read(file));
        Assert.StartsWith("llama.", error.Field, StringComparison.Ordinal);
        Assert.False(ModelInspector.Inspect(file).IsSupported);
    }

    [Theory]
    [MemberData(nameof(WrongFloats))]
    public void Read_NoPositiveFiniteNumber_IsRejected(string key, float value) =>
        AssertFormat(TinyModel.Whole().Without($"llama.{key}").Single($"llama.{key}", value), $"llama.{key}");

    [Theory]
    [InlineData("output_norm.weight")]
    [InlineData("blk.1.ffn_down.weight")]
    [InlineData("blk.0.attn_norm.weight")]
    public void Read_TensorMissingOrOfOtherShape_NamesIt(string name)
    {
        AssertFormat(TinyModel.Whole().WithoutTensor(name), name);
        AssertFormat(TinyModel.Whole().WithoutTensor(name).Tensor(name, 4, 4, 3), name);
    }

    [Fact]
    public void Read_VocabularyOfAnotherSizeThanTheEmbedding_IsRejected() =>
        AssertFormat(TinyModel.Whole().Without("tokenizer.ggml.tokens").Strings("tokenizer.ggml.tokens", "a", "b"), "tokenizer.ggml.tokens");

    [Fact]
    public void Read_LayersThatDiffer_AreNotSupported()
    {
        AssertUnsupported(PerLayer(12, 16), "feed_forward_length", "12", "16");
        AssertFormat(PerLayer(12), "llama.feed_forward_length");
        using GgufFile alike = GgufFile.Read(PerLayer(12, 12).Build());
        Assert.Equal(12, ModelShapeReader.Read(alike).FeedForwardSize);

        static GgufBuilder PerLayer(params int[] widths) =>
            TinyModel.Whole().Without("llama.feed_forward_length").Int32s("llama.feed_forward_length", widths);
    }

    [Fact]
    public void Read_WhatWouldComputeSomethingElse_IsNotSupported()
    {
        AssertUnsupported(TinyModel.Metadata("mamba").WithTokenizer(), "'mamba'", "llama", "qwen2", "qwen3");
        AssertUnsupported(TinyModel.Whole().UInt32("llama.expert_count", 8), "expert");
        AssertUnsupported(TinyModel.Whole().String("llama.rope.scaling.type", "yarn"), "'yarn'", "linear");
        AssertUnsupported(TinyModel.Whole().Single("llama.rope.scaling.attn_factor", 2), "attn_factor");
        AssertUnsupported(TinyModel.Whole().Bool("llama.attention.causal", 0), "causal");
        AssertUnsupported(TinyModel.Whole().UInt32("llama.rope.dimension_count", 2), "2 of 4");
        AssertUnsupported(TinyModel.Whole().UInt32("llama.attention.value_length", 8), "values of 8");
        AssertUnsupported(TinyModel.Whole().Tensor("blk.0.attn_output.bias", 8), "'blk.0.attn_output.bias'");
        AssertUnsupported(TinyModel.Whole().Tensor("blk.2.attn_norm.weight", 8), "'blk.2.attn_norm.weight'");
        AssertUnsupported(
            TinyModel.Metadata("qwen2").WithTokenizer().WithTensors().Tensor("rope_freqs.weight", 2), "'rope_freqs.weight'", "qwen2");
    }

    [Fact]
    public void Read_TensorTypeWeCannotComputeWith_IsNamedWithTheSupportedOnes()
    {
        GgufBuilder builder = TinyModel.Whole().WithoutTensor("output_norm.weight")
            .Tensor(new GgufBuilder.TensorRow("output_norm.weight", 23, [256]) { Data = new byte[136] });
        AssertUnsupported(builder, "IQ4_XS", "1 tensors", "'output_norm.weight'", "Q8_0", "Q4_K");
        using GgufFile file = GgufFile.Read(builder.Build());
        Assert.Equal(new Dictionary<string, int> { ["F32"] = 19, ["IQ4_XS"] = 1 }, ModelInspector.Inspect(file).TensorTypes);
    }

    [Theory]
    [InlineData("bert", null, "'bert'")]
    [InlineData("gpt2", "frobnicate", "'frobnicate'")]
    [InlineData("gpt2", null, "tokenizer.ggml.pre")]
    public void Load_TokenizerWeDoNotHave_IsNamedBeforeAnythingIsLoaded(string model, string? pre, string named)
    {
        GgufBuilder builder = TinyModel.Whole().Without("tokenizer.ggml.model").String("tokenizer.ggml.model", model);
        if (pre is not null)
        {
            builder.String("tokenizer.ggml.pre", pre);
        }

        using GgufFile file = GgufFile.Read(builder.Build());
        Exception error = Assert.ThrowsAny<Exception>(() => TokenizerLoader.Load(file.Metadata));
        Assert.True(error is NotSupportedException or GgufFormatException, error.ToString());
        Assert.Contains(named, error.Message, StringComparison.Ordinal);
        Assert.Single(ModelInspector.Inspect(file).Problems);
    }

    [Fact]
    public void Inspect_SeveralProblems_ListsAll()
    {
        using GgufFile file = GgufFile.Read(TinyModel.Whole().Without("tokenizer.ggml.model").String("tokenizer.ggml.model", "rwkv")
            .Tensor("extra", 8).Tensor(new GgufBuilder.TensorRow("more", 20, [32]) { Data = new byte[18] }).Build());
        ModelInspection inspection = ModelInspector.Inspect(file);
        Assert.Equal("rwkv", inspection.Tokenizer);
        Assert.Equal(4, inspection.Problems.Count); // the type, two tensors that nobody knows, the tokenizer
        Assert.Equal(2, inspection.Shape!.LayerCount);
    }

    [Fact]
    public void Read_Qwen3WithLlama3Factors_AndBiases_AreDescribedByData()
    {
        GgufBuilder qwen3 = TinyModel.Metadata("qwen3").UInt32("qwen3.attention.key_length", 6).UInt32("qwen3.attention.value_length", 6).WithTokenizer()
            .Tensor("token_embd.weight", 8, TinyModel.Vocabulary).Tensor("output_norm.weight", 8).Tensor("output.weight", 8, TinyModel.Vocabulary);
        for (int layer = 0; layer < 2; layer++)
        {
            qwen3.Tensor($"blk.{layer}.attn_norm.weight", 8).Tensor($"blk.{layer}.attn_q.weight", 8, 12).Tensor($"blk.{layer}.attn_k.weight", 8, 6)
                .Tensor($"blk.{layer}.attn_v.weight", 8, 6).Tensor($"blk.{layer}.attn_q_norm.weight", 6).Tensor($"blk.{layer}.attn_k_norm.weight", 6)
                .Tensor($"blk.{layer}.attn_output.weight", 12, 8).Tensor($"blk.{layer}.ffn_norm.weight", 8).Tensor($"blk.{layer}.ffn_gate.weight", 8, 12)
                .Tensor($"blk.{layer}.ffn_up.weight", 8, 12).Tensor($"blk.{layer}.ffn_down.weight", 12, 8);
        }

        using GgufFile file = GgufFile.Read(qwen3.Build());
        ModelShape shape = ModelShapeReader.Read(file);
        Assert.Equal((6, 12, RopeLayout.Halves), (shape.HeadDim, shape.QueryWidth, shape.RopeLayout));
        Assert.True(shape is { HasQkNorm: true, TiedHead: false, HasQkvBias: false, HasRopeFrequencyFactors: false });

        using GgufFile llama = GgufFile.Read(TinyModel.Whole().Tensor("rope_freqs.weight", 2).Build());
        Assert.True(ModelShapeReader.Read(llama) is { HasRopeFrequencyFactors: true, TiedHead: true, RopeLayout: RopeLayout.Interleaved });

        GgufBuilder biased = TinyModel.Metadata("qwen2").WithTokenizer().WithTensors();
        for (int layer = 0; layer < 2; layer++)
        {
            biased.Tensor($"blk.{layer}.attn_q.bias", 8).Tensor($"blk.{layer}.attn_k.bias", 4).Tensor($"blk.{layer}.attn_v.bias", 4);
        }

        using GgufFile qwen2 = GgufFile.Read(biased.Build());
        Assert.True(ModelShapeReader.Read(qwen2).HasQkvBias);
        AssertFormat(biased.WithoutTensor("blk.1.attn_k.bias"), "blk.1.attn_k.bias");
    }

    private static void AssertFormat(GgufBuilder builder, string field)
    {
        using GgufFile file = GgufFile.Read(builder.Build());
        var error = Assert.Throws<GgufFormatException>(() => ModelShapeReader.Read(file));
        Assert.Equal(field, error.Field);
        Assert.Contains(ModelInspector.Inspect(file).Problems, problem => problem.Contains(field, StringComparison.Ordinal));
    }

    private static void AssertUnsupported(GgufBuilder builder, params string[] named)
    {
        using GgufFile file = GgufFile.Read(builder.Build());
        var error = Assert.Throws<NotSupportedException>(() => ModelShapeReader.Read(file));
        Assert.All(named, text => Assert.Contains(text, error.Message, StringComparison.Ordinal));
        Assert.Contains(error.Message, ModelInspector.Inspect(file).Problems);
    }
}
