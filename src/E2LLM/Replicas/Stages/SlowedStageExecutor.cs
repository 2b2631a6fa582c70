using E2LLM.KvCaching;
using E2LLM.Replicas.Connections;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// A slower device on a fast one: all work is real, and after each piece of it the thread rests until the piece has taken <c>slowdown</c> times as long. Resting costs no
/// processor time, so that many slow devices fit one machine. What the clock's granularity lets a rest be too long or too short is taken from the next. Used by one thread.
/// </summary>
/// <param name="inner">Does the work; not owned.</param>
/// <param name="slowdown">Times as long that work takes; at least 1.</param>
/// <param name="clock">Measures time.</param>
/// <param name="workClock">Measures work: the same clock, or one of processor time, which does not count what other threads take away.</param>
/// <param name="rest">Rests for so many milliseconds; null waits.</param>
internal sealed class SlowedStageExecutor(IStageExecutor inner, double slowdown, TimeProvider clock, TimeProvider workClock, Action<int, CancellationToken>? rest = null) : IStageExecutor
{
    private CancellationToken _cancellation;
    private readonly List<(int Layer, long At)> _doneLayers = [];
    private Action<int>? _layerDone;
    private long _began, _workBegan;
    private double _owedSeconds;

    public ModelShape Shape => inner.Shape;

    public StageRole Role => inner.Role;

    public KvCachePool KvPool => inner.KvPool;

    public int MaxBatchTokenCount => inner.MaxBatchTokenCount;

    /// <summary>
    /// Called when a layer is done in slowed time: keys and values leave no earlier than a slow device would send them. All layers are computed first, as without slowing: one that came after a rest would find cold
    /// caches, which is not what is to be emulated.
    /// </summary>
    public Action<int>? LayerDone
    {
        get => _layerDone;
        set
        {
            _layerDone = value;
            inner.LayerDone = value is null ? null : layer => _doneLayers.Add((layer, workClock.GetTimestamp()));
        }
    }

    public void Embed(ReadOnlySpan<int> ids, Span<float> hidden)
    {
        Begin(CancellationToken.None);
        inner.Embed(ids, hidden);
        End();
    }

    public void Forward(ReadOnlySpan<StageSlice> batch, Span<float> hidden, CancellationToken cancellationToken)
    {
        Begin(cancellationToken);
        inner.Forward(batch, hidden, cancellationToken);
        End();
    }

    public void StoreFirstLayer(KvCache sequence, int firstPosition, ReadOnlySpan<int> ids)
    {
        Begin(CancellationToken.None);
        inner.StoreFirstLayer(sequence, firstPosition, ids);
        End();
    }

    public void ComputeLogits(ReadOnlySpan<float> hidden, Span<float> logits)
    {
        Begin(CancellationToken.None);
        inner.ComputeLogits(hidden, logits);
        End();
    }

    private void Begin(CancellationToken cancellation)
    {
        _doneLayers.Clear();
        _cancellation = cancellation;
        _began = clock.GetTimestamp();
        _workBegan = workClock.GetTimestamp();
    }

    /// <summary>The work is done: rests until it would be on the slow device, and tells each layer on the way.</summary>
    private void End()
    {
        double work = workClock.GetElapsedTime(_workBegan).TotalSeconds;
        foreach ((int layer, long at) in _doneLayers)
        {
            Rest(workClock.GetElapsedTime(_workBegan, at).TotalSeconds);
            _layerDone!(layer);
        }

        Rest(work);
        _owedSeconds += (slowdown * work) - clock.GetElapsedTime(_began).TotalSeconds;
    }

    private void Rest(double workSeconds)
    {
        double left = _owedSeconds + (slowdown * workSeconds) - clock.GetElapsedTime(_began).TotalSeconds;
        if ((int)Math.Min(left * 1000, int.MaxValue) is var milliseconds and > 0)
        {
            (rest ?? Wait)(milliseconds, _cancellation);
        }
    }

    private static void Wait(int milliseconds, CancellationToken cancellation)
    {
        if (cancellation.WaitHandle.WaitOne(milliseconds))
        {
            cancellation.ThrowIfCancellationRequested();
        }
    }
}
