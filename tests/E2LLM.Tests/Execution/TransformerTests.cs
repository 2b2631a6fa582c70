using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Tests.Oracles;
using E2LLM.Tests.Support;
using E2LLM.Weights;

namespace E2LLM.Tests.Execution;

/// <summary>Whole models of each family against the double-precision oracle.</summary>
public sealed class TransformerTests
{
    public static TheoryData<string> Families => ["llama", "llama with frequency factors", "qwen2", "qwen3"];

    [Theory]
    [MemberData(nameof(Families))]
    public void Logits_RandomModel_EqualsDoublePrecision(string family)
    {
        RandomModel random = Model(family);
        int[] ids = [.. Enumerable.Range(0, 150).Select(i => (i * 31) % random.Shape.VocabularySize)];
        float[] logits = Logits(random, ids, KvElementType.F32);
        Accuracy.AssertClose(new TransformerOracle(random).Logits(ids), logits, 1e-9, family);
    }

    [Theory]
    [InlineData(KvElementType.F16, 1e-6)]
    [InlineData(KvElementType.BF16, 1e-4)]
    public void Logits_RoundedCache_StaysNear(KvElementType kv, double nmse)
    {
        RandomModel random = Model("llama");
        int[] ids = [.. Enumerable.Range(0, 100).Select(i => (i * 7) % random.Shape.VocabularySize)];
        Accuracy.AssertClose(new TransformerOracle(random).Logits(ids), Logits(random, ids, kv), nmse, kv.ToString());
    }

    [Fact]
    public void Constructor_QuantizedCacheAndOddHead_Throws()
    {
        RandomModel random = Model("llama");
        var error = Assert.Throws<NotSupportedException>(() => Logits(random, [1], KvElementType.Q8_0));
        Assert.Contains("F32, F16, BF16", error.Message, StringComparison.Ordinal);
    }

    private static RandomModel Model(string family) => new(
        family switch
        {
            "llama" => RandomModel.Llama(),
            "llama with frequency factors" => RandomModel.Llama(factors: true),
            "qwen2" => RandomModel.Qwen2(),
            _ => RandomModel.Qwen3(),
        },
        seed: 5);

    private static float[] Logits(RandomModel random, int[] ids, KvElementType kv)
    {
        using GgufFile file = GgufFile.Read(random.File());
        ModelShape shape = ModelShapeReader.Read(file);
        using ModelWeights weights = ModelWeights.Load(file, shape, new LayerRange(0, shape.LayerCount), embedding: true, head: true);
        using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 2, KvElementType = kv });
        using KvCache sequence = executor.CreateSequence();
        float[] hidden = new float[ids.Length * shape.HiddenSize], logits = new float[ids.Length * shape.VocabularySize];
        executor.Embed(ids, hidden);
        executor.Forward([new SequenceSlice(sequence, ids.Length)], hidden);
        executor.ComputeLogits(hidden, logits);
        return logits;
    }
}
