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
    private bool _disposed;

    /// <summary>Takes over <paramref name="cache"/>.</summary>
    /// <exception cref="KvCacheFullException">The pool has too few blocks for the whole sequence.</exception>
    public StageSequence(SequenceOpenMessage open, KvCache cache, KvImport? import)
    {
        Open = open;
        Cache = cache;
        Import = import;
        UnsentTargetCount = open.Targets.Count;
    }

    public SequenceOpenMessage Open { get; }

    public ulong Id => Open.Sequence;

    public KvCache Cache { get; }

    /// <summary>Filled by connections of prefill stages; null where the prompt is computed here.</summary>
    public KvImport? Import { get; }

    /// <summary>Whether steps may come: the prompt's keys and values are there, or are computed by the steps themselves.</summary>
    public bool IsReady { get; set; }

    /// <summary>Timestamp of the opening.</summary>
    public long OpenedAt { get; init; }

    /// <summary>Targets that have not confirmed the keys and values yet. Touched on the stage loop.</summary>
    public int UnsentTargetCount { get; set; }

    /// <summary>Coded bytes sent to targets. Touched on the stage loop.</summary>
    public long SentBytes { get; set; }

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
        }
    }
}
