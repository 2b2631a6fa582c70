using E2LLM.Costs;
using E2LLM.Execution;
using E2LLM.Generation;
using E2LLM.Gguf;
using E2LLM.Profiling;
using E2LLM.Tests.Support;
using E2LLM.Weights;

namespace E2LLM.Tests.Weights;

/// <summary>Loading by the file's name alone, and what is told meanwhile.</summary>
public sealed class ModelWeightsPathTests
{
    private static readonly string Path = TestModel.OwnModel("q8_0");

    [Theory]
    [InlineData(0, 3, true, false), InlineData(2, 4, false, false), InlineData(3, 6, false, true), InlineData(0, 6, true, true), InlineData(2, 2, false, false)]
    public void Load_ByName_HoldsWhatTheRangeNeeds(int start, int end, bool embedding, bool head)
    {
        using GgufFile file = GgufFile.Open(Path);
        ModelShape shape = ModelShapeReader.Read(file);
        var layers = new LayerRange(start, end);
        using ModelWeights weights = ModelWeights.Load(Path, layers, out ModelIdentity identity);
        Assert.Equal((layers, embedding, head), (weights.Layers, weights.HasEmbedding, weights.HasHead));
        Assert.Equal(ModelWeights.EstimateMemory(file, shape, layers, embedding, head), weights.Memory);
        Assert.Empty(ModelIdentityReader.Read(file).DifferencesFrom(identity));
    }

    [Fact]
    public void Load_ByNameWithoutARange_HoldsAllThatTheFileHolds()
    {
        using ModelWeights whole = ModelWeights.Load(Path);
        Assert.Equal((new LayerRange(0, 6), true, true), (whole.Layers, whole.HasEmbedding, whole.HasHead));

        // Layers in the middle with the head: no range of the whole model says that.
        using GgufFile file = GgufFile.Open(Path);
        string slice = System.IO.Path.GetTempFileName();
        using (FileStream output = File.Create(slice))
        {
            GgufSlicer.Write(file, new LayerRange(2, 4), embedding: false, head: true, output);
        }

        using ModelWeights part = ModelWeights.Load(slice, null, out ModelIdentity identity);
        Assert.Equal((new LayerRange(2, 4), false, true), (part.Layers, part.HasEmbedding, part.HasHead));
        Assert.Empty(ModelIdentityReader.Read(file).DifferencesFrom(identity));
        File.Delete(slice);
    }

    [Fact]
    public void Load_Progress_RisesToTheBytesThatAreHeld()
    {
        var told = new List<LoadingProgress>();
        using (ModelWeights weights = ModelWeights.Load(Path, progress: new Collecting(told)))
        {
            Assert.Equal(weights.Memory.TotalBytes, weights.AllocatedBytes);
            Check(weights.Memory.TotalBytes);
        }

        told.Clear();
        using (var stream = new SliceTests.OneWayStream(File.ReadAllBytes(Path)))
        using (ModelWeights weights = ModelWeights.Load(stream, out _, progress: new Collecting(told)))
        {
            Check(weights.Memory.TotalBytes);
        }

        told.Clear();
        using TextGenerator generator = TextGenerator.Load(Path, progress: new Collecting(told));
        Check(generator.Memory.TotalBytes);

        void Check(long total)
        {
            Assert.True(told.Count > 50);
            Assert.All(told, progress => Assert.Equal(total, progress.TotalBytes));
            Assert.Equal(told.Select(progress => progress.DoneBytes).Order().Distinct(), told.Select(progress => progress.DoneBytes));
            Assert.Equal((total, 1.0), (told[^1].DoneBytes, told[^1].DoneFraction));
        }
    }

    [Fact]
    public void Load_ByName_BadInput_IsTyped()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => ModelWeights.Load(Path, new LayerRange(0, 7)));
        Assert.Throws<FileNotFoundException>(() => ModelWeights.Load("no/such.gguf".Replace('/', '-')));
        Assert.Throws<OperationCanceledException>(() => ModelWeights.Load(Path, cancellationToken: new CancellationToken(canceled: true)));
    }

    [Fact]
    public void ModelCost_OfAFile_CountsTheBytesThatExecutorsHold()
    {
        ModelCost cost = ModelCostReader.Read(Path, KvElementType.Q8_0);
        foreach (LayerRange layers in new[] { new LayerRange(0, 6), new LayerRange(0, 2), new LayerRange(2, 5), new LayerRange(5, 6) })
        {
            using ModelWeights weights = ModelWeights.Load(Path, layers);
            Assert.Equal(weights.AllocatedBytes, cost.WeightBytes(layers, weights.HasEmbedding, weights.HasHead));
            using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { KvElementType = KvElementType.Q8_0, KvBlockCount = 1, ThreadCount = 1 });
            Assert.Equal(executor.KvPool.Layout.PositionBytes, cost.KvBytesPerTokenOf(layers));
        }
    }

    /// <summary>On the loading thread, as it is told.</summary>
    private sealed class Collecting(List<LoadingProgress> told) : IProgress<LoadingProgress>
    {
        public void Report(LoadingProgress value) => told.Add(value);
    }
}
