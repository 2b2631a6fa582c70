using System.Runtime.InteropServices;

namespace E2LLM.KvCaching;

/// <summary>
/// A fixed number of equal KV blocks in native memory, shared by the sequences of one executor. Owns the memory of every block;
/// a block is allocated when first used and kept until the pool is disposed. Thread-safe.
/// </summary>
public sealed unsafe class KvCachePool : IDisposable
{
    private readonly Lock _gate = new();
    private readonly nint[] _blocks;
    private readonly int[] _free;
    private int _freeCount;
    private bool _disposed;

    /// <summary>Makes a pool; no block is allocated yet.</summary>
    /// <param name="layout">What a block holds.</param>
    /// <param name="blockCount">Blocks at most, each <see cref="KvCacheLayout.BlockBytes"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="blockCount"/> is negative.</exception>
    /// <exception cref="NotSupportedException">The layout asks for what is not supported.</exception>
    public KvCachePool(KvCacheLayout layout, int blockCount)
    {
        ArgumentNullException.ThrowIfNull(layout);
        ArgumentOutOfRangeException.ThrowIfNegative(blockCount);
        layout.Validate();
        Layout = layout;
        BlockCount = blockCount;
        _blocks = new nint[blockCount];
        _free = new int[blockCount];
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

    /// <summary>Blocks that no sequence holds now.</summary>
    public int FreeBlockCount => Volatile.Read(ref _freeCount);

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
            if (destination.Length > _freeCount)
            {
                throw new KvCacheFullException(destination.Length, _freeCount, BlockCount);
            }

            for (int i = 0; i < destination.Length; i++)
            {
                int block = _free[_freeCount - 1 - i];
                if (_blocks[block] == 0)
                {
                    // Zeroed once: the padding of value heads is never written again.
                    nuint bytes = checked((nuint)Layout.BlockBytes);
                    void* memory = NativeMemory.AlignedAlloc(Math.Max(bytes, 64), 64);
                    NativeMemory.Clear(memory, bytes);
                    _blocks[block] = (nint)memory;
                }

                destination[i] = block;
            }

            _freeCount -= destination.Length;
        }
    }

    internal void Return(ReadOnlySpan<int> blocks)
    {
        lock (_gate)
        {
            foreach (int block in blocks)
            {
                _free[_freeCount++] = block;
            }
        }
    }

    internal byte* Pointer(int block) => (byte*)_blocks[block];

    internal bool IsDisposed => _disposed;

    private void FreeBlocks()
    {
        lock (_gate)
        {
            _disposed = true;
            for (int i = 0; i < _blocks.Length; i++)
            {
                NativeMemory.AlignedFree((void*)_blocks[i]);
                _blocks[i] = 0;
            }
        }
    }
}
