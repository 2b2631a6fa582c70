using E2LLM.KvCaching;
using E2LLM.Replicas.Connections;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// A slower device on a fast one: all work is real, and after each piece of it the thread rests until the piece has taken <c>slowdown</c> times as long. Resting costs no
/// processor time, so that many slow devices fit one machine. What the clock's granularity lets a rest be too long or too short is taken from the next. Used by one thread.
/// </summary>
/// <param name="inner">Does the work; not owned.</param>
/// <param name="slowdown">Times as long that work takes; at least 1.</param>
/// <param name="clock">Measures the work.</param>
/// <param name="rest">Rests for so many milliseconds; null waits.</param>
internal sealed class SlowedStageExecutor(IStageExecutor inner, double slowdown, TimeProvider clock, Action<int, CancellationToken>? rest = null) : IStageExecutor
{
    // Never set: waiting for it is a rest that ends with its time or a cancellation.
    private readonly ManualResetEventSlim _never = new(false, 0);
    private CancellationToken _cancellation;
    private Action<int>? _layerDone;
    private long _began;
    private double _owedSeconds;

    public ModelShape Shape => inner.Shape;

    public StageRole Role => inner.Role;

    public KvCachePool KvPool => inner.KvPool;

    public int MaxBatchTokenCount => inner.MaxBatchTokenCount;

    /// <summary>Called when a layer is done in slowed time: keys and values leave no earlier than a slow device would send them.</summary>
    public Action<int>? LayerDone
    {
        get => _layerDone;
        set
        {
            _layerDone = value;
            inner.LayerDone = value is null ? null : layer =>
            {
                Rest();
                value(layer);
                _began = clock.GetTimestamp();
            };
        }
    }

    public void Embed(ReadOnlySpan<int> ids, Span<float> hidden)
    {
        Begin(CancellationToken.None);
        inner.Embed(ids, hidden);
        Rest();
    }

    public void Forward(ReadOnlySpan<StageSlice> batch, Span<float> hidden, CancellationToken cancellationToken)
    {
        Begin(cancellationToken);
        inner.Forward(batch, hidden, cancellationToken);
        Rest();
    }

    public void ComputeLogits(ReadOnlySpan<float> hidden, Span<float> logits)
    {
        Begin(CancellationToken.None);
        inner.ComputeLogits(hidden, logits);
        Rest();
    }

    private void Begin(CancellationToken cancellation)
    {
        _cancellation = cancellation;
        _began = clock.GetTimestamp();
    }

    private void Rest()
    {
        long now = clock.GetTimestamp();
        _owedSeconds += (slowdown - 1) * clock.GetElapsedTime(_began, now).TotalSeconds;
        if ((int)Math.Min(_owedSeconds * 1000, int.MaxValue) is var milliseconds and > 0)
        {
            (rest ?? Wait)(milliseconds, _cancellation);
            _owedSeconds -= clock.GetElapsedTime(now).TotalSeconds;
        }
    }

    private void Wait(int milliseconds, CancellationToken cancellation) => _never.Wait(milliseconds, cancellation);
}
