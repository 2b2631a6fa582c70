namespace E2LLM.KvCaching;

/// <summary>
/// A fixed number of equal KV blocks in native memory, shared by the sequences of one executor. Owns the memory of every block;
/// a block takes memory when first used and keeps it until the pool is disposed. Sequences that begin with the same tokens may share blocks, and blocks
/// that nobody holds may keep what they hold for a later sequence until the memory is needed. Thread-safe.
/// </summary>
public sealed unsafe class KvCachePool : IDisposable
{
    private readonly Lock _gate = new();
    private readonly KvBlockMemory _memory;
    private readonly int[] _free;
    private readonly int[] _holders;
    private readonly KeptPages _kept;
    private int _freeCount;
    private bool _disposed;

    /// <summary>Makes a pool; no block is allocated yet.</summary>
    /// <param name="layout">What a block holds.</param>
    /// <param name="blockCount">Blocks at most, each <see cref="KvCacheLayout.BlockBytes"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="blockCount"/> is negative.</exception>
    /// <exception cref="NotSupportedException">The layout asks for what is not supported.</exception>
    public KvCachePool(KvCacheLayout layout, int blockCount)
        : this(layout, blockCount, KvBlockMemory.Allocate)
    {
    }

    /// <summary>The same with an allocator: gives zeroed memory that <see cref="System.Runtime.InteropServices.NativeMemory.Free"/> takes back, or throws <see cref="OutOfMemoryException"/>.</summary>
    internal KvCachePool(KvCacheLayout layout, int blockCount, Func<nuint, nint> allocate)
    {
        ArgumentNullException.ThrowIfNull(layout);
        ArgumentOutOfRangeException.ThrowIfNegative(blockCount);
        layout.Validate();
        Layout = layout;
        BlockCount = blockCount;
        _memory = new KvBlockMemory(layout.BlockBytes, blockCount, allocate);
        _free = new int[blockCount];
        _holders = new int[blockCount];
        _kept = new KeptPages(blockCount);
        MaxKeptBlockCount = blockCount;
        for (int i = 0; i < blockCount; i++)
        {
            _free[i] = blockCount - 1 - i;
        }

        _freeCount = blockCount;
    }

    /// <summary>Frees memory that <see cref="Dispose"/> did not.</summary>
    ~KvCachePool() => FreeBlocks();

    /// <summary>What a block holds.</summary>
    public KvCacheLayout Layout { get; }

    /// <summary>Blocks in all.</summary>
    public int BlockCount { get; }

    /// <summary>Blocks that no sequence holds now, those kept for later sequences among them.</summary>
    public int FreeBlockCount
    {
        get
        {
            lock (_gate)
            {
                return _freeCount + _kept.IdleCount;
            }
        }
    }

    /// <summary>Blocks that no sequence holds and that are kept for later ones; they are free for whoever needs them.</summary>
    internal int KeptBlockCount
    {
        get
        {
            lock (_gate)
            {
                return _kept.IdleCount;
            }
        }
    }

    /// <summary>Blocks kept at most while no sequence holds them; 0 keeps none.</summary>
    internal int MaxKeptBlockCount { get; set; }

    /// <summary>Blocks that <paramref name="tokenCount"/> positions of one sequence take.</summary>
    public int BlocksFor(int tokenCount)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(tokenCount);
        return (int)(((long)tokenCount + Layout.BlockTokenCount - 1) / Layout.BlockTokenCount);
    }

    /// <summary>Starts an empty sequence. It takes blocks as it grows and gives them back when truncated or disposed.</summary>
    /// <exception cref="ObjectDisposedException">The pool was disposed.</exception>
    public KvCache CreateSequence()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return new KvCache(this);
    }

    /// <summary>Frees all blocks. Every sequence of this pool is unusable afterwards.</summary>
    public void Dispose()
    {
        FreeBlocks();
        GC.SuppressFinalize(this);
    }

    /// <summary>Takes as many blocks as <paramref name="destination"/> has room for, or none.</summary>
    /// <exception cref="KvCacheFullException">Fewer are free.</exception>
    internal void Rent(Span<int> destination)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (destination.Length > _freeCount + _kept.IdleCount)
            {
                throw new KvCacheFullException(destination.Length, _freeCount + _kept.IdleCount, BlockCount);
            }

            int taken = 0;
            try
            {
                for (; taken < destination.Length; taken++)
                {
                    destination[taken] = TakeOne();
                }
            }
            catch
            {
                // No memory for a block that was never used: those taken before it go back.
                Release(destination[..taken]);
                throw;
            }
        }
    }

    /// <summary>Gives blocks up, once for every time that they were taken or shared.</summary>
    internal void Return(ReadOnlySpan<int> blocks)
    {
        lock (_gate)
        {
            Release(blocks);
        }
    }

    /// <summary>Shares the blocks of the first pages that are kept, without a gap.</summary>
    /// <param name="scope">Whose pages.</param>
    /// <param name="keys">Keys of the pages wanted, from position zero on.</param>
    /// <param name="destination">Gets the blocks; at least as long as <paramref name="keys"/>.</param>
    /// <returns>How many were found.</returns>
    internal int Share(ulong scope, ReadOnlySpan<PageKey> keys, Span<int> destination)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            int count = 0;
            while (count < keys.Length && _kept.TryFind(scope, keys[count], out int block))
            {
                _kept.BecameHeld(block);
                _holders[block]++;
                destination[count++] = block;
            }

            return count;
        }
    }

    /// <summary>Keeps pages that are complete in every layer for later sequences.</summary>
    internal void Keep(ulong scope, ReadOnlySpan<PageKey> keys, ReadOnlySpan<int> blocks)
    {
        if (MaxKeptBlockCount == 0)
        {
            return;
        }

        lock (_gate)
        {
            for (int i = 0; i < keys.Length; i++)
            {
                _kept.Keep(scope, keys[i], blocks[i]);
            }
        }
    }

    /// <summary>Keeps nothing of one owner any longer.</summary>
    internal void Forget(ulong scope)
    {
        lock (_gate)
        {
            foreach (int block in _kept.Of(scope))
            {
                _kept.Forget(block);
                if (_holders[block] == 0)
                {
                    _free[_freeCount++] = block;
                }
            }
        }
    }

    /// <summary>Whether a holder of the block may write to it: nobody else reads it, now or later.</summary>
    internal bool IsWritable(int block) => Volatile.Read(ref _holders[block]) == 1 && !_kept.IsKept(block);

    /// <summary>A block with the same content that the holder may write to: the block itself where nobody else holds it, otherwise a copy.</summary>
    /// <exception cref="KvCacheFullException">A copy is needed and no block is free.</exception>
    internal int MakeWritable(int block)
    {
        lock (_gate)
        {
            if (_holders[block] == 1)
            {
                _kept.Forget(block);
                return block;
            }

            if (_freeCount + _kept.IdleCount == 0)
            {
                throw new KvCacheFullException(1, 0, BlockCount);
            }

            int copy = TakeOne();
            Buffer.MemoryCopy(_memory.Pointer(block), _memory.Pointer(copy), Layout.BlockBytes, Layout.BlockBytes);
            Release([block]);
            return copy;
        }
    }

    internal byte* Pointer(int block) => _memory.Pointer(block);

    internal bool IsDisposed => _disposed;

    private int TakeOne()
    {
        if (_freeCount == 0)
        {
            int evicted = _kept.EvictOldest();
            _holders[evicted] = 1;
            return evicted;
        }

        int block = _free[_freeCount - 1];
        _memory.Take(block);
        _freeCount--;
        _holders[block] = 1;
        return block;
    }

    /// <summary>The last page first, so that of one text its end is given up before its beginning.</summary>
    private void Release(ReadOnlySpan<int> blocks)
    {
        for (int i = blocks.Length - 1; i >= 0; i--)
        {
            int block = blocks[i];
            if (--_holders[block] > 0)
            {
                continue;
            }

            if (!_kept.IsKept(block))
            {
                _free[_freeCount++] = block;
                continue;
            }

            _kept.BecameIdle(block);
            if (_kept.IdleCount > MaxKeptBlockCount)
            {
                _free[_freeCount++] = _kept.EvictOldest();
            }
        }
    }

    private void FreeBlocks()
    {
        lock (_gate)
        {
            _disposed = true;
            _memory.Free();
        }
    }
}
