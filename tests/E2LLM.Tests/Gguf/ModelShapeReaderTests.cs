using E2LLM.Gguf;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Gguf;

public class ModelShapeReaderTests
{
    [Fact]
    public void Read_OwnModel_GivesTheModelCardsNumbers()
    {
        using GgufFile file = GgufFile.Open(Repository.PathOf("samples/models/tinytales-3.9m-q8_0.gguf"));
        var expected = new ModelShape
        {
            Name = "tinytales-3.9m",
            Architecture = "llama",
            LayerCount = 6,
            HiddenSize = 256,
            HeadCount = 8,
            KvHeadCount = 2,
            HeadDim = 32,
            FeedForwardSize = 512,
            VocabularySize = 2048,
            ContextLength = 512,
            RopeTheta = 10_000f,
            RopeDimensionCount = 32,
            RopeLayout = RopeLayout.Interleaved,
            RmsNormEpsilon = 1e-5f,
            TiedHead = true,
        };
        Assert.Equal(expected, ModelShapeReader.Read(file));
        ModelInspection inspection = ModelInspector.Inspect(file);
        Assert.Empty(inspection.Problems);
        Assert.Equal(new Dictionary<string, int> { ["F32"] = 13, ["Q8_0"] = 43 }, inspection.TensorTypes);
    }

    [Fact]
    public void Read_NothingOptional_TakesTheDefaults()
    {
        using GgufFile file = GgufFile.Read(TinyModel.Metadata().Without("llama.attention.head_count_kv").String("tokenizer.ggml.model", "llama")
            .UInt32("llama.vocab_size", 7).Build());
        ModelShape shape = ModelShapeReader.Read(file);
        Assert.Equal((2, 4, 4, 10_000f, 1f, 7), (shape.KvHeadCount, shape.HeadDim, shape.RopeDimensionCount, shape.RopeTheta, shape.RopePositionDivisor, shape.VocabularySize));
    }
}
