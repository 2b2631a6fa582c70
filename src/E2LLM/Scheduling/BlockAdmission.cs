namespace E2LLM.Scheduling;

/// <summary>
/// Lets sequences in while KV blocks and slots last, strictly in order of arrival, so that a long one is not overtaken for ever. A sequence
/// gets all blocks it may ever need at once: nothing admitted is ever dropped for want of memory. Thread-safe.
/// </summary>
internal sealed class BlockAdmission
{
    private readonly Lock _gate = new();
    private readonly LinkedList<Waiter> _waiting = [];
    private readonly int _blockTokenCount;
    private readonly int _slotCount;
    private int _freeBlocks;
    private int _freeSlots;
    private Exception? _closed;

    /// <summary>Makes an admission over the given budget.</summary>
    /// <param name="blockCount">KV blocks, the fewest of any stage.</param>
    /// <param name="blockTokenCount">Positions per block.</param>
    /// <param name="slotCount">Sequences at once at most.</param>
    public BlockAdmission(int blockCount, int blockTokenCount, int slotCount)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(blockCount);
        ArgumentOutOfRangeException.ThrowIfLessThan(blockTokenCount, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(slotCount, 1);
        BlockCount = _freeBlocks = blockCount;
        _blockTokenCount = blockTokenCount;
        _slotCount = _freeSlots = slotCount;
    }

    /// <summary>Blocks in all.</summary>
    public int BlockCount { get; }

    /// <summary>Blocks neither held nor waited for; below zero where more are waited for than there are.</summary>
    public int UnclaimedBlockCount
    {
        get
        {
            lock (_gate)
            {
                return _freeBlocks - _waiting.Sum(waiter => waiter.Blocks);
            }
        }
    }

    /// <summary>Sequences that are let in or wait.</summary>
    public int ClaimCount
    {
        get
        {
            lock (_gate)
            {
                return _slotCount - _freeSlots + _waiting.Count;
            }
        }
    }

    /// <summary>Requests that wait.</summary>
    public int WaitingCount
    {
        get
        {
            lock (_gate)
            {
                return _waiting.Count;
            }
        }
    }

    /// <summary>Whether a sequence of so many positions would be let in at once.</summary>
    public bool HasRoom(int tokenCount)
    {
        lock (_gate)
        {
            return _waiting.Count == 0 && _freeSlots > 0 && BlocksFor(tokenCount) <= _freeBlocks;
        }
    }

    /// <summary>Blocks that a sequence of so many positions takes.</summary>
    public int BlocksFor(int tokenCount) => (int)(((long)tokenCount + _blockTokenCount - 1) / _blockTokenCount);

    /// <summary>Waits for room. What it returns is to be given back by <see cref="Release"/>.</summary>
    /// <returns>Blocks taken.</returns>
    /// <exception cref="ArgumentOutOfRangeException">So many positions never fit.</exception>
    /// <exception cref="OperationCanceledException">The wait was cancelled.</exception>
    public async ValueTask<int> AcquireAsync(int tokenCount, CancellationToken cancellationToken)
    {
        int blocks = BlocksFor(tokenCount);
        if (blocks > BlockCount)
        {
            throw new ArgumentOutOfRangeException(nameof(tokenCount), tokenCount, $"A sequence of {tokenCount} tokens needs {blocks} KV blocks; the replica has {BlockCount}.");
        }

        var waiter = new Waiter(blocks);
        LinkedListNode<Waiter> node;
        lock (_gate)
        {
            if (_closed is not null)
            {
                throw _closed;
            }

            node = _waiting.AddLast(waiter);
        }

        Admit();
        using CancellationTokenRegistration cancelled = cancellationToken.UnsafeRegister(
            static (state, token) => ((Waiter)state!).Admitted.TrySetCanceled(token), waiter);
        try
        {
            await waiter.Admitted.Task.ConfigureAwait(false);
            return blocks;
        }
        catch
        {
            lock (_gate)
            {
                if (node.List is not null)
                {
                    _waiting.Remove(node);
                }
            }

            // The one in front may have been what the others waited for.
            Admit();
            throw;
        }
    }

    /// <summary>Gives back what <see cref="AcquireAsync"/> returned.</summary>
    public void Release(int blocks)
    {
        lock (_gate)
        {
            _freeBlocks += blocks;
            _freeSlots++;
        }

        Admit();
    }

    /// <summary>Ends all waits, present and future, with <paramref name="reason"/>.</summary>
    public void Close(Exception reason)
    {
        List<Waiter> waiting;
        lock (_gate)
        {
            _closed ??= reason;
            waiting = [.. _waiting];
            _waiting.Clear();
        }

        foreach (Waiter waiter in waiting)
        {
            waiter.Admitted.TrySetException(reason);
        }
    }

    private void Admit()
    {
        while (true)
        {
            Waiter first;
            lock (_gate)
            {
                if (_waiting.First is not { } node || node.Value.Blocks > _freeBlocks || _freeSlots == 0)
                {
                    return;
                }

                first = node.Value;
                _waiting.RemoveFirst();
                _freeBlocks -= first.Blocks;
                _freeSlots--;
            }

            if (!first.Admitted.TrySetResult())
            {
                // Cancelled in the meantime: what it got goes to the next.
                lock (_gate)
                {
                    _freeBlocks += first.Blocks;
                    _freeSlots++;
                }
            }
        }
    }

    private sealed class Waiter(int blocks)
    {
        public int Blocks => blocks;

        public TaskCompletionSource Admitted { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
