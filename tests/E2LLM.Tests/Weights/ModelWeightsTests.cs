using E2LLM.Gguf;
using E2LLM.Tests.Support;
using E2LLM.Weights;

namespace E2LLM.Tests.Weights;

public sealed class ModelWeightsTests
{
    [Theory]
    [InlineData("f32", 0, 6, true, true)]
    [InlineData("q8_0", 0, 6, true, true)]
    [InlineData("q8_0", 0, 2, true, false)]
    [InlineData("q8_0", 2, 5, false, false)]
    [InlineData("q8_0", 5, 6, false, true)]
    [InlineData("q8_0", 0, 0, false, true)]
    public void EstimateMemory_AnyPart_EqualsWhatIsAllocated(string type, int start, int end, bool embedding, bool head)
    {
        using GgufFile file = GgufFile.Open(TestModel.OwnModel(type));
        ModelShape shape = ModelShapeReader.Read(file);
        WeightsMemory estimate = ModelWeights.EstimateMemory(file, shape, new LayerRange(start, end), embedding, head);
        using ModelWeights weights = ModelWeights.Load(file, shape, new LayerRange(start, end), embedding, head);
        Assert.Equal(estimate.TotalBytes, weights.AllocatedBytes);
        Assert.Equal(estimate, weights.Memory);
        Assert.Equal((embedding, head), (weights.HasEmbedding, weights.HasHead));
    }

    [Fact]
    public void EstimateMemory_WholeModel_IsNearFileSize()
    {
        foreach (string type in new[] { "f32", "q8_0" })
        {
            using GgufFile file = GgufFile.Open(TestModel.OwnModel(type));
            ModelShape shape = ModelShapeReader.Read(file);
            long whole = ModelWeights.EstimateMemory(file, shape, new LayerRange(0, shape.LayerCount), embedding: true, head: true).TotalBytes;
            Assert.InRange(whole, file.FileBytes * 0.9, file.FileBytes * 1.02);
        }
    }

    [Fact]
    public void EstimateMemory_Layers_AddUp()
    {
        using GgufFile file = GgufFile.Open(TestModel.OwnModel("q8_0"));
        ModelShape shape = ModelShapeReader.Read(file);
        long whole = ModelWeights.EstimateMemory(file, shape, new LayerRange(0, 6), embedding: false, head: false).LayerBytes;
        long parts = Enumerable.Range(0, 6).Sum(layer => ModelWeights.EstimateMemory(file, shape, new LayerRange(layer, layer + 1), embedding: false, head: false).LayerBytes);
        Assert.Equal(whole, parts);
    }

    [Fact]
    public void Load_BeyondTheModel_Throws()
    {
        using GgufFile file = GgufFile.Open(TestModel.OwnModel("q8_0"));
        ModelShape shape = ModelShapeReader.Read(file);
        Assert.Throws<ArgumentOutOfRangeException>(() => ModelWeights.Load(file, shape, new LayerRange(5, 7), embedding: false, head: false));
    }

    [Fact]
    public void Load_TensorMissingOrMisshapen_ThrowsAndNamesIt()
    {
        using GgufFile file = GgufFile.Open(TestModel.OwnModel("q8_0"));
        ModelShape shape = ModelShapeReader.Read(file);
        var layers = new LayerRange(0, 1);
        Assert.Equal("blk.0.attn_q.bias", Assert.Throws<GgufFormatException>(
            () => ModelWeights.Load(file, shape with { HasQkvBias = true }, layers, embedding: false, head: false)).Field);
        var misshapen = Assert.Throws<GgufFormatException>(() => ModelWeights.Load(file, shape with { FeedForwardSize = 544 }, layers, embedding: false, head: false));
        Assert.Equal("blk.0.ffn_gate.weight", misshapen.Field);
        Assert.Contains("544", misshapen.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Load_Cancelled_Throws()
    {
        using GgufFile file = GgufFile.Open(TestModel.OwnModel("q8_0"));
        ModelShape shape = ModelShapeReader.Read(file);
        Assert.Throws<OperationCanceledException>(
            () => ModelWeights.Load(file, shape, new LayerRange(0, 6), embedding: true, head: true, cancellationToken: new CancellationToken(canceled: true)));
    }

    [Fact]
    public void ReadRow_EveryRow_EqualsStoredRow()
    {
        foreach (string type in new[] { "f32", "q8_0" })
        {
            using GgufFile file = GgufFile.Open(TestModel.OwnModel(type));
            ModelShape shape = ModelShapeReader.Read(file);
            using ModelWeights weights = ModelWeights.Load(file, shape, new LayerRange(0, 0), embedding: true, head: false);
            Assert.True(file.TryGetTensor("token_embd.weight", out GgufTensor? tensor));
            using GgufTensorView view = file.OpenTensor(tensor);
            foreach (int row in new[] { 0, 1, 7, 8, 15, 16, 1000, 2047 })
            {
                float[] expected = Kernels.QuantizedData.Dequantize(tensor.Type, view.Rows(row, 1).ToArray(), shape.HiddenSize), actual = new float[shape.HiddenSize];
                unsafe
                {
                    fixed (float* target = actual)
                    {
                        weights.Embedding!.ReadRow(row, target);
                    }
                }

                Assert.Equal(expected, actual);
            }
        }
    }
}
