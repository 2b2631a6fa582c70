using E2LLM.KvCaching;
using E2LLM.Replicas.Stages;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Replicas;

public sealed class SlowedStageExecutorTests
{
    [Theory]
    [InlineData(1.5)]
    [InlineData(8)]
    [InlineData(40)]
    public void Forward_ManyPasses_TakeSlowdownTimesTheWork(double slowdown)
    {
        var time = new ManualTime();
        using var toy = new ToyExecutor(2, new LayerRange(0, 2)) { BeforeForward = () => time.Advance(TimeSpan.FromMicroseconds(170)) };
        long rested = 0;

        // A clock that always oversleeps: what is too much in one rest must be taken from the next.
        var slowed = new SlowedStageExecutor(toy, slowdown, time, time, (milliseconds, _) =>
        {
            rested += milliseconds;
            time.Advance(TimeSpan.FromMilliseconds(milliseconds + 0.4));
        });
        long began = time.GetTimestamp();
        using KvCache sequence = toy.KvPool.CreateSequence();
        sequence.Reserve(200);
        for (int i = 0; i < 200; i++)
        {
            slowed.Forward([new StageSlice(sequence, 1)], new float[8], default);
        }

        double expected = 200 * 170e-6 * slowdown, took = time.GetElapsedTime(began).TotalSeconds;
        Assert.InRange(took - expected, -0.0011, 0.0011);
        Assert.InRange(rested / 1000.0, 0, expected);
    }

    [Fact]
    public void Forward_Slowed_GivesTheSameNumbersAndTellsLayersAfterTheirRest()
    {
        var time = new ManualTime();
        using ToyExecutor plain = new(3, new LayerRange(0, 3)), toy = new(3, new LayerRange(0, 3)) { BeforeForward = () => time.Advance(TimeSpan.FromMilliseconds(10)) };
        var slowed = new SlowedStageExecutor(toy, 5, time, time, (milliseconds, _) => time.Advance(TimeSpan.FromMilliseconds(milliseconds)));
        var told = new List<(int Layer, double Seconds)>();
        long began = time.GetTimestamp();
        slowed.LayerDone = layer => told.Add((layer, time.GetElapsedTime(began).TotalSeconds));
        float[] expected = new float[8], actual = new float[8];
        plain.Embed([7], expected);
        slowed.Embed([7], actual);
        using KvCache one = plain.KvPool.CreateSequence(), other = toy.KvPool.CreateSequence();
        one.Reserve(1);
        other.Reserve(1);
        plain.Forward([new StageSlice(one, 1)], expected, default);
        slowed.Forward([new StageSlice(other, 1)], actual, default);
        Assert.Equal(expected, actual);
        Assert.Equal([0, 1, 2], told.Select(t => t.Layer));
        Assert.All(told, t => Assert.Equal(0.05, t.Seconds, 1e-9));
        slowed.LayerDone = null;
        Assert.Null(toy.LayerDone);
    }

    [Fact]
    public void Forward_Slowed_ComputesAllLayersBeforeItRests()
    {
        // Each layer takes two milliseconds. A rest between them would leave the next one cold caches.
        var time = new ManualTime();
        var computed = new List<double>();
        var told = new List<(int Layer, double Seconds)>();
        using var toy = new ToyExecutor(3, new LayerRange(0, 3)) { BeforeForward = () => time.Advance(TimeSpan.FromMilliseconds(2)) };
        toy.AfterLayer = _ =>
        {
            computed.Add(time.GetElapsedTime(0).TotalSeconds);
            time.Advance(TimeSpan.FromMilliseconds(2));
        };
        var slowed = new SlowedStageExecutor(toy, 10, time, time, (milliseconds, _) => time.Advance(TimeSpan.FromMilliseconds(milliseconds)));
        slowed.LayerDone = layer => told.Add((layer, time.GetElapsedTime(0).TotalSeconds));
        using KvCache sequence = toy.KvPool.CreateSequence();
        sequence.Reserve(1);
        slowed.Forward([new StageSlice(sequence, 1)], new float[8], default);
        Assert.Equal([0.002, 0.004, 0.006], computed.Select(seconds => Math.Round(seconds, 9)));

        // Rests are whole milliseconds.
        Assert.Equal([0, 1, 2], told.Select(one => one.Layer));
        Assert.All(told, one => Assert.InRange(one.Seconds - (0.02 * (one.Layer + 1)), -0.0011, 1e-9));
        Assert.InRange(time.GetElapsedTime(0).TotalSeconds, 0.0789, 0.08 + 1e-9);

        // Not told again by a pass that nobody asks.
        slowed.LayerDone = null;
        slowed.Embed([1], new float[8]);
        Assert.Equal(3, told.Count);
    }

    [Fact]
    public void Forward_WithAClockOfProcessorTime_LeavesOutWhatOthersTookAway()
    {
        ManualTime time = new(), processor = new();
        using var toy = new ToyExecutor(1, new LayerRange(0, 1))
        {
            // Two milliseconds of work that last five, since another thread had the processor.
            BeforeForward = () =>
            {
                time.Advance(TimeSpan.FromMilliseconds(5));
                processor.Advance(TimeSpan.FromMilliseconds(2));
            },
        };
        var slowed = new SlowedStageExecutor(toy, 10, time, processor, (milliseconds, _) => time.Advance(TimeSpan.FromMilliseconds(milliseconds)));
        using KvCache sequence = toy.KvPool.CreateSequence();
        sequence.Reserve(1);
        slowed.Forward([new StageSlice(sequence, 1)], new float[8], default);
        Assert.Equal(0.02, time.GetElapsedTime(0).TotalSeconds, 1e-9);
    }

    [Fact]
    public void Forward_CancelledWhileItRests_ThrowsAtOnce()
    {
        var time = new ManualTime();
        using var toy = new ToyExecutor(1, new LayerRange(0, 1)) { BeforeForward = () => time.Advance(TimeSpan.FromHours(1)) };
        using var stop = new CancellationTokenSource();
        stop.Cancel();
        using KvCache sequence = toy.KvPool.CreateSequence();
        sequence.Reserve(1);
        Assert.ThrowsAny<OperationCanceledException>(() => new SlowedStageExecutor(toy, 1000, time, time).Forward([new StageSlice(sequence, 1)], new float[8], stop.Token));
    }
}
