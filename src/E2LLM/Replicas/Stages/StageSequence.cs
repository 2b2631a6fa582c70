using System.Diagnostics;
using E2LLM.KvCaching;
using E2LLM.Replicas.Connections;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// One sequence at one stage. Owns its KV cache. The stage loop appends to it; a sender may read positions that are complete, and an
/// import writes positions nobody reads yet, so the blocks are reserved at once and the block table never changes until disposal.
/// </summary>
internal sealed class StageSequence : IDisposable
{
    private readonly Lock _gate = new();
    private int _keptPageCount;
    private bool _disposed;

    /// <summary>Takes over <paramref name="cache"/>.</summary>
    /// <exception cref="KvCacheFullException">The pool has too few blocks for the whole sequence.</exception>
    public StageSequence(SequenceOpenMessage open, KvCache cache, KvImport? import)
    {
        Open = open;
        Cache = cache;
        Import = import;
        UnsentTargetCount = open.Targets.Count;
        Recent = open.Sampling.HasPenalties ? new RecentTokens(open) : null;
    }

    public SequenceOpenMessage Open { get; }

    public ulong Id => Open.Sequence;

    public KvCache Cache { get; }

    /// <summary>Filled by connections of prefill stages; null where the prompt is computed here.</summary>
    public KvImport? Import { get; }

    /// <summary>What penalties look at; null without penalties. Touched on the stage loop.</summary>
    public RecentTokens? Recent { get; }

    /// <summary>Whether layer 0 is still being computed here. Touched on the stage loop.</summary>
    public bool AwaitsFirstLayer { get; set; }

    /// <summary>Whether steps may come: the prompt's keys and values are there, or are computed by the steps themselves.</summary>
    public bool IsReady { get; set; }

    /// <summary>Where the first step began: the positions before it were kept from earlier sequences. Touched on the stage loop.</summary>
    public int StartPosition { get; private set; } = -1;

    /// <summary>From opening to closing, in the request's trace; null where nobody traces. Stopped by <see cref="Dispose"/>.</summary>
    public Activity? Activity { get; init; }

    /// <summary>Timestamp of the opening.</summary>
    public long OpenedAt { get; init; }

    /// <summary>Targets that have not confirmed the keys and values yet. Touched on the stage loop.</summary>
    public int UnsentTargetCount { get; set; }

    /// <summary>Coded bytes sent to targets. Touched on the stage loop.</summary>
    public long SentBytes { get; set; }

    /// <summary>Bytes per second of the slowest link to a target; infinite while unknown. Touched on the stage loop.</summary>
    public double LinkBytesPerSecond { get; set; } = double.PositiveInfinity;

    /// <summary>What computing layer 0 took here. Touched on the stage loop.</summary>
    public double FirstLayerSeconds { get; set; }

    /// <summary>
    /// Whether a step may begin at <paramref name="position"/>: behind what is held. The first step of a sequence may begin earlier, since another stage of
    /// the replica may have kept fewer pages; what is too much here is let go.
    /// </summary>
    public bool TryBegin(int position)
    {
        if (StartPosition < 0)
        {
            if (Import is null && position < Cache.Length)
            {
                Cache.Truncate(position);
                Cache.Reserve(Open.CapacityTokenCount);
            }

            StartPosition = position;
        }

        return Cache.Length == position;
    }

    /// <summary>Keeps pages that are full now for later sequences of the same driver.</summary>
    /// <param name="scope">Number of the driver's session.</param>
    /// <param name="pages">Keys of the sequence's pages, from position zero on; those that are not full yet are left out.</param>
    public void KeepPages(ulong scope, IReadOnlyList<PageKey> pages)
    {
        int full = Math.Min(Cache.Length / PageKey.TokenCount, pages.Count);
        if (full > _keptPageCount)
        {
            Cache.KeepPrefix(scope, [.. pages.Take(full)]);
            _keptPageCount = full;
        }
    }

    /// <summary>Runs <paramref name="action"/> unless the sequence is gone; it cannot go meanwhile.</summary>
    /// <returns>False where it is gone.</returns>
    public bool TryUse<T>(T state, Action<KvCache, T> action)
    {
        lock (_gate)
        {
            if (_disposed)
            {
                return false;
            }

            action(Cache, state);
            return true;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            Import?.Close();
            Cache.Dispose();
            Activity?.SetTag("kv_bytes_sent", SentBytes).Dispose();
        }
    }
}
