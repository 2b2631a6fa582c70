using E2LLM.Costs;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.Profiling;
using E2LLM.Tests.Support;
using E2LLM.Weights;

namespace E2LLM.Tests.Profiling;

/// <summary>The profiler on a small random model: with a made-up clock every figure is known; the real clock is used for sanity only.</summary>
public sealed class DeviceProfilerTests : IDisposable
{
    private readonly GgufFile _file = GgufFile.Read(new RandomModel(RandomModel.Llama(), seed: 3).File());
    private readonly ModelShape _shape;
    private readonly ModelCost _cost;
    private readonly ModelWeights _weights;

    public DeviceProfilerTests()
    {
        _shape = ModelShapeReader.Read(_file);
        _cost = ModelCost.FromShape(_shape, [4000, 4000], 500, 700);
        _weights = ModelWeights.Load(_file, _shape, new LayerRange(0, 2), embedding: true, head: true);
    }

    [Fact]
    public void Measure_RealClock_GivesADeviceThatAClusterAccepts()
    {
        using LayerRangeExecutor executor = Executor();
        DeviceProfile device = DeviceProfiler.Measure(executor, _cost, Few() with { Name = "box \"1\"", MemoryBytes = 12345 });
        string json = $$"""{ "devices": [ {{device.ToJson()}} ] }""";
        Cluster cluster = Cluster.Parse(json);
        Assert.Null(cluster.FindProblem());
        DeviceProfile read = Assert.Single(cluster.Devices);
        Assert.Equal(("box \"1\"", 12345L), (read.Name, read.MemoryBytes));
        Assert.Equal(device.Profile!.Prefill, read.Profile!.Prefill);
        Assert.Equal(device.Profile.Decode, read.Profile.Decode);
        Assert.Equal(_cost.Name, read.Profile.ModelIdentity);
        Assert.Equal(device.ToJson(), DeviceProfile.Parse(device.ToJson()).ToJson());
        AssertMonotone(device.Profile);
        Assert.True(double.IsFinite(device.ComputeFlopsPerSecond) && device.ComputeFlopsPerSecond > 0);
        Assert.True(double.IsFinite(device.MemoryBytesPerSecond) && device.MemoryBytesPerSecond > 0);
        Assert.True(device.Profile.HeadSeconds > 0 && device.Profile.EmbeddingSeconds > 0);
    }

    [Fact]
    public void Measure_EveryPassTakesOneSecond_GivesTheFiguresByHand()
    {
        using LayerRangeExecutor executor = Executor();
        DeviceProfile device = DeviceProfiler.Measure(executor, _cost, Few() with { TimeProvider = new SteppingClock(_ => 1) });
        MeasuredProfile profile = device.Profile!;
        Assert.Equal(0, profile.ErrorFraction);
        Assert.Equal((1.0, 1.0), (profile.HeadSeconds, profile.EmbeddingSeconds));
        Assert.All(profile.Prefill, point => Assert.Equal(0.5, point.SecondsPerLayer));
        Assert.All(profile.Decode, point => Assert.Equal(0.5, point.SecondsPerLayer));
        Assert.Equal([(1, 0), (8, 0), (1, 70), (8, 70)], profile.Prefill.Select(point => (point.ChunkTokens, point.ContextTokens)));
        Assert.Equal([(1, 0), (3, 0), (1, 70), (3, 70)], profile.Decode.Select(point => (point.Batch, point.ContextTokens)));

        // 8 tokens after 70: each meets all weights and 74 positions on average; one decode step at depth 70 reads the layer and 70 positions.
        LayerCost layer = _cost.Layers[0];
        Assert.Equal(8 * (layer.FlopsPerToken + (74 * layer.AttentionFlopsPerPair)) / 0.5, device.ComputeFlopsPerSecond, 1e-6);
        Assert.Equal((4000 + (70 * layer.KvBytesPerToken)) / 0.5, device.MemoryBytesPerSecond, 1e-6);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Measure_WildClock_StaysMonotoneAndAcceptable(int seed)
    {
        var random = new Random(seed);
        using LayerRangeExecutor executor = Executor();
        DeviceProfile device = DeviceProfiler.Measure(
            executor, _cost, Few() with { RepeatCount = 4, TimeProvider = new SteppingClock(_ => random.NextDouble() * 10) });
        AssertMonotone(device.Profile!);
        Assert.InRange(device.Profile!.ErrorFraction, 1e-6, 0.99);
        Assert.Null(new Cluster { Devices = [device] }.FindProblem());
    }

    [Fact]
    public void Measure_ClockThatStandsStill_StillGivesPositiveSeconds()
    {
        using LayerRangeExecutor executor = Executor();
        DeviceProfile device = DeviceProfiler.Measure(executor, _cost, Few() with { TimeProvider = new SteppingClock(_ => 0) });
        Assert.Null(new Cluster { Devices = [device] }.FindProblem());
    }

    [Fact]
    public void Measure_PointsBeyondPool_AreLeftOut()
    {
        using var executor = new LayerRangeExecutor(_weights, new ExecutorOptions { ThreadCount = 1, KvBlockCount = 8 });
        DeviceProfile device = DeviceProfiler.Measure(executor, _cost, Few() with
        {
            ChunkTokenCounts = [4, 9999], ContextTokenCounts = [510, 0, 512], BatchSizes = [1, 9, 8], TimeProvider = new SteppingClock(_ => 1),
        });
        Assert.Equal([(4, 0), (512, 0)], device.Profile!.Prefill.Select(point => (point.ChunkTokens, point.ContextTokens)));
        Assert.Equal([(1, 0), (8, 0), (1, 510), (1, 511)], device.Profile.Decode.Select(point => (point.Batch, point.ContextTokens)));
    }

    [Fact]
    public void Measure_DepthsBeyondTheContext_AreCutSoThatEveryDepthHasEveryChunk()
    {
        using LayerRangeExecutor executor = Executor();
        DeviceProfile device = DeviceProfiler.Measure(executor, _cost, Few() with { ContextTokenCounts = [0, 9999], TimeProvider = new SteppingClock(_ => 1) });
        Assert.Equal([(1, 0), (8, 0), (1, 504), (8, 504)], device.Profile!.Prefill.Select(point => (point.ChunkTokens, point.ContextTokens)));
        Assert.Equal([(1, 0), (3, 0), (1, 511), (3, 511)], device.Profile.Decode.Select(point => (point.Batch, point.ContextTokens)));
    }

    [Fact]
    public void KvBlockCount_OfTheOptions_FitsEveryPoint()
    {
        DeviceProfilerOptions options = Few();
        using var executor = new LayerRangeExecutor(_weights, new ExecutorOptions { ThreadCount = 1, KvBlockCount = options.KvBlockCount(_shape.ContextLength, 64) });
        DeviceProfile device = DeviceProfiler.Measure(executor, _cost, options with { TimeProvider = new SteppingClock(_ => 1) });
        Assert.Equal((4, 4), (device.Profile!.Prefill.Count, device.Profile.Decode.Count));
    }

    [Fact]
    public void Measure_CancelledMidway_ThrowsAndLeavesTheExecutorUsable()
    {
        using LayerRangeExecutor executor = Executor();
        using var source = new CancellationTokenSource();
        var progress = new CancelAt(source, pointCount: 5);
        Assert.Throws<OperationCanceledException>(() => DeviceProfiler.Measure(executor, _cost, Few(), progress, source.Token));
        Assert.Equal(5, progress.Last);
        Assert.Equal(executor.KvPool.BlockCount, executor.KvPool.FreeBlockCount);
        Assert.NotNull(DeviceProfiler.Measure(executor, _cost, Few()).Profile);
    }

    [Fact]
    public void Measure_WithoutHeadOrOfAnotherModel_IsRefused()
    {
        using ModelWeights headless = ModelWeights.Load(_file, _shape, new LayerRange(0, 1), embedding: true, head: false);
        using var without = new LayerRangeExecutor(headless, new ExecutorOptions { ThreadCount = 1 });
        Assert.Throws<ArgumentException>(() => DeviceProfiler.Measure(without, _cost));
        using LayerRangeExecutor executor = Executor();
        Assert.Throws<ArgumentException>(() => DeviceProfiler.Measure(executor, _cost with { HiddenSize = 25 }));
        Assert.Throws<ArgumentOutOfRangeException>(() => DeviceProfiler.Measure(executor, _cost, Few() with { BatchSizes = [0] }));
        using var small = new LayerRangeExecutor(_weights, new ExecutorOptions { ThreadCount = 1, KvBlockCount = 1 });
        Assert.Throws<ArgumentException>(() => DeviceProfiler.Measure(small, _cost, Few() with { ContextTokenCounts = [64] }));
    }

    public void Dispose()
    {
        _weights.Dispose();
        _file.Dispose();
    }

    private static DeviceProfilerOptions Few() => new()
    {
        ChunkTokenCounts = [8, 1], ContextTokenCounts = [0, 70], BatchSizes = [1, 3], RepeatCount = 3, WarmUpSeconds = 0,
    };

    private LayerRangeExecutor Executor() => new(_weights, new ExecutorOptions { ThreadCount = 2 });

    private static void AssertMonotone(MeasuredProfile profile)
    {
        Assert.All(profile.Prefill, a => Assert.All(profile.Prefill, b => Assert.True(
            a.ChunkTokens > b.ChunkTokens || a.ContextTokens > b.ContextTokens || a.SecondsPerLayer <= b.SecondsPerLayer)));
        Assert.All(profile.Decode, a => Assert.All(profile.Decode, b => Assert.True(
            a.Batch > b.Batch || a.ContextTokens > b.ContextTokens || a.SecondsPerLayer <= b.SecondsPerLayer)));
    }

    private sealed class CancelAt(CancellationTokenSource source, int pointCount) : IProgress<ProfilingProgress>
    {
        public int Last { get; private set; }

        public void Report(ProfilingProgress value)
        {
            Last = value.DonePointCount;
            if (Last == pointCount)
            {
                source.Cancel();
            }
        }
    }
}
