using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Weights;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>
/// Work in seconds of a machine whose speed does not change. Processor time alone is no measure of it: what else a host's processors and caches are used for makes the same work take up to half as long again from
/// one minute to the next, and an emulated device would drift with it. So a thread of its own runs the same small piece of a model again and again, and processor time counts as many times as this yardstick is quicker
/// than its nominal time. Elapsed times mean something on one thread only.
/// </summary>
internal sealed class SteadyClock : TimeProvider, IDisposable
{
    /// <summary>What the yardstick takes by definition.</summary>
    public const double NominalSeconds = 100e-6;

    private const int YardstickTokens = 16, RecentCount = 15, WarmUpCount = 400;
    private static readonly TimeSpan Period = TimeSpan.FromMilliseconds(60);

    [ThreadStatic]
    private static long last;

    [ThreadStatic]
    private static double steady;

    private readonly TimeProvider _work;
    private readonly Func<double> _yardstick;
    private readonly IDisposable? _owned;
    private readonly double[] _recent = new double[RecentCount];
    private readonly CancellationTokenSource _stop = new();
    private readonly Thread _thread;
    private double _factor;

    /// <param name="work">Processor time of the calling thread.</param>
    /// <param name="yardstick">Does the piece of work on the calling thread, and tells how long it took.</param>
    /// <param name="period">How often.</param>
    /// <param name="owned">Disposed with this clock.</param>
    public SteadyClock(TimeProvider work, Func<double> yardstick, TimeSpan period, IDisposable? owned = null)
    {
        (_work, _yardstick, _owned) = (work, yardstick, owned);
        for (int i = 0; i < WarmUpCount; i++)
        {
            Measure(i);
        }

        _thread = new Thread(() =>
        {
            for (int i = 0; !_stop.Token.WaitHandle.WaitOne(period); i++)
            {
                Measure(i);
            }
        }) { IsBackground = true, Name = "yardstick" };
        _thread.Start();
    }

    public override long TimestampFrequency => _work.TimestampFrequency;

    /// <summary>One layer of the model over a few tokens: weights to read, and enough to reckon with each.</summary>
    public static SteadyClock Of(string modelPath)
    {
        using GgufFile file = GgufFile.Open(modelPath);
        ModelWeights weights = ModelWeights.Load(file, ModelShapeReader.Read(file), new LayerRange(0, 1), false, false);
        var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 1, MaxBatchTokenCount = YardstickTokens });
        KvCache sequence = executor.CreateSequence();
        float[] hidden = new float[YardstickTokens * executor.Shape.HiddenSize];
        return new SteadyClock(ThreadClock.Instance, Run, Period, new Owned([sequence, executor, weights]));

        double Run()
        {
            sequence.Truncate(0);
            Array.Fill(hidden, 0.1f);
            long began = ThreadClock.Instance.GetTimestamp();
            executor.Forward([new SequenceSlice(sequence, YardstickTokens)], hidden, CancellationToken.None);
            return ThreadClock.Instance.GetElapsedTime(began).TotalSeconds;
        }
    }

    public override long GetTimestamp()
    {
        long now = _work.GetTimestamp();
        steady += (now - last) * Volatile.Read(ref _factor);
        last = now;
        return (long)steady;
    }

    public void Dispose()
    {
        _stop.Cancel();
        _thread.Join();
        _stop.Dispose();
        _owned?.Dispose();
    }

    // The median of the latest: one that another thread disturbed says nothing of the machine.
    private void Measure(int number)
    {
        _recent[number % RecentCount] = _yardstick();
        double[] sorted = [.. _recent.Where(seconds => seconds > 0).Order()];
        Volatile.Write(ref _factor, sorted.Length == 0 ? 1 : NominalSeconds / sorted[sorted.Length / 2]);
    }

    private sealed class Owned(IDisposable[] parts) : IDisposable
    {
        public void Dispose() => Array.ForEach(parts, part => part.Dispose());
    }
}
