namespace E2LLM.KvCaching;

/// <summary>
/// The keys and values of one sequence, kept in blocks of a <see cref="KvCachePool"/>. A block that other sequences hold too, or that is kept for later
/// ones, is copied before it is written to. Disposing gives the blocks back. Not thread-safe: one
/// thread at a time may use a sequence, but different sequences of a pool may be used by different threads.
/// </summary>
public sealed unsafe class KvCache : IDisposable
{
    private int[] _blocks = new int[8];
    private int _blockCount;
    private bool _disposed;

    internal KvCache(KvCachePool pool) => Pool = pool;

    /// <summary>The pool that owns the blocks.</summary>
    public KvCachePool Pool { get; }

    /// <summary>What is kept for each position.</summary>
    public KvCacheLayout Layout => Pool.Layout;

    /// <summary>Positions that hold keys and values in every layer: the next token has this position.</summary>
    public int Length { get; private set; }

    /// <summary>Positions that fit in the blocks held now.</summary>
    public int Capacity => _blockCount * Layout.BlockTokenCount;

    /// <summary>Takes blocks until <paramref name="tokenCount"/> positions fit. Does nothing where they do already.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="tokenCount"/> is negative.</exception>
    /// <exception cref="KvCacheFullException">The pool has too few free blocks; the sequence keeps what it had.</exception>
    public void Reserve(int tokenCount)
    {
        ThrowIfUnusable();
        if (tokenCount > Length && Length % Layout.BlockTokenCount != 0)
        {
            // Positions are about to be appended in the middle of a block.
            MakeWritable(Length / Layout.BlockTokenCount);
        }

        int needed = Pool.BlocksFor(tokenCount) - _blockCount;
        if (needed <= 0)
        {
            return;
        }

        if (_blockCount + needed > _blocks.Length)
        {
            Array.Resize(ref _blocks, Math.Max(_blocks.Length * 2, _blockCount + needed));
        }

        Pool.Rent(_blocks.AsSpan(_blockCount, needed));
        _blockCount += needed;
    }

    /// <summary>Forgets all positions from <paramref name="length"/> on, and gives back the blocks that are empty then, reserved ones too.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="length"/> is negative or above <see cref="Length"/>.</exception>
    public void Truncate(int length)
    {
        ThrowIfUnusable();
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length);
        int kept = Pool.BlocksFor(length);
        Pool.Return(_blocks.AsSpan(kept, _blockCount - kept));
        _blockCount = kept;
        Length = length;
    }

    /// <summary>
    /// Declares the positions below <paramref name="length"/> filled. For whoever writes keys and values of all layers by
    /// <see cref="WriteKeys"/> and <see cref="WriteValues"/>; the executor does it by itself.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="length"/> is below <see cref="Length"/> or above <see cref="Capacity"/>.</exception>
    public void Extend(int length)
    {
        ThrowIfUnusable();
        ArgumentOutOfRangeException.ThrowIfLessThan(length, Length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Capacity);
        Length = length;
    }

    /// <summary>Copies stored keys out in canonical order, bit for bit.</summary>
    /// <param name="layer">Absolute layer index, within the layout's range.</param>
    /// <param name="firstToken">First position.</param>
    /// <param name="count">Positions; <paramref name="firstToken"/> + <paramref name="count"/> is at most <see cref="Capacity"/>.</param>
    /// <param name="destination">
    /// <c>[position][kvHead][headDim]</c> elements, <c>count * Layout.TokenBytes</c> bytes, little-endian. Q8_0: each 32 elements as a
    /// half-precision scale and 32 signed bytes (34 bytes).
    /// </param>
    /// <exception cref="ArgumentException">A range or a length does not fit.</exception>
    public void ReadKeys(int layer, int firstToken, int count, Span<byte> destination)
    {
        CheckTransfer(layer, firstToken, count, destination.Length, nameof(destination));
        fixed (byte* target = destination)
        {
            KvBlockTransposition.Copy(this, layer, firstToken, count, target, new KvBlockTransposition.Direction(IsKeys: true, ToCache: false));
        }
    }

    /// <summary>Copies stored values out in canonical order, bit for bit; see <see cref="ReadKeys"/>.</summary>
    /// <inheritdoc cref="ReadKeys"/>
    public void ReadValues(int layer, int firstToken, int count, Span<byte> destination)
    {
        CheckTransfer(layer, firstToken, count, destination.Length, nameof(destination));
        fixed (byte* target = destination)
        {
            KvBlockTransposition.Copy(this, layer, firstToken, count, target, new KvBlockTransposition.Direction(IsKeys: false, ToCache: false));
        }
    }

    /// <summary>Stores keys given in canonical order, bit for bit. <see cref="Length"/> stays: see <see cref="Extend"/>.</summary>
    /// <param name="layer">Absolute layer index, within the layout's range.</param>
    /// <param name="firstToken">First position.</param>
    /// <param name="count">Positions; <paramref name="firstToken"/> + <paramref name="count"/> is at most <see cref="Capacity"/>.</param>
    /// <param name="source">As in <see cref="ReadKeys"/>.</param>
    /// <exception cref="ArgumentException">A range or a length does not fit.</exception>
    public void WriteKeys(int layer, int firstToken, int count, ReadOnlySpan<byte> source)
    {
        CheckTransfer(layer, firstToken, count, source.Length, nameof(source));
        MakeWritable(firstToken, count);
        fixed (byte* origin = source)
        {
            KvBlockTransposition.Copy(this, layer, firstToken, count, origin, new KvBlockTransposition.Direction(IsKeys: true, ToCache: true));
        }
    }

    /// <summary>Stores values given in canonical order, bit for bit; see <see cref="WriteKeys"/>.</summary>
    /// <inheritdoc cref="WriteKeys"/>
    public void WriteValues(int layer, int firstToken, int count, ReadOnlySpan<byte> source)
    {
        CheckTransfer(layer, firstToken, count, source.Length, nameof(source));
        MakeWritable(firstToken, count);
        fixed (byte* origin = source)
        {
            KvBlockTransposition.Copy(this, layer, firstToken, count, origin, new KvBlockTransposition.Direction(IsKeys: false, ToCache: true));
        }
    }

    /// <summary>Starts an empty sequence with as many whole pages as the pool keeps of the given ones: <see cref="Length"/> is behind them then.</summary>
    /// <param name="scope">Whose pages.</param>
    /// <param name="keys">Keys of the pages wanted, from position zero on.</param>
    /// <returns>Positions that need not be computed.</returns>
    /// <exception cref="InvalidOperationException">The sequence holds blocks already.</exception>
    internal int AdoptPrefix(ulong scope, ReadOnlySpan<PageKey> keys)
    {
        ThrowIfUnusable();
        if (_blockCount > 0)
        {
            throw new InvalidOperationException($"Only an empty sequence adopts a prefix; this one holds {_blockCount} blocks.");
        }

        if (_blocks.Length < keys.Length)
        {
            _blocks = new int[keys.Length];
        }

        _blockCount = Pool.Share(scope, keys, _blocks);
        return Length = _blockCount * Layout.BlockTokenCount;
    }

    /// <summary>Keeps the first pages for later sequences, as far as they are full.</summary>
    /// <param name="scope">Whose pages they are.</param>
    /// <param name="keys">Keys of the pages, from position zero on.</param>
    internal void KeepPrefix(ulong scope, ReadOnlySpan<PageKey> keys)
    {
        ThrowIfUnusable();
        int count = Math.Min(keys.Length, Length / Layout.BlockTokenCount);
        Pool.Keep(scope, keys[..count], _blocks.AsSpan(0, count));
    }

    /// <summary>Gives all blocks back. Further use throws <see cref="ObjectDisposedException"/>.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        if (!Pool.IsDisposed)
        {
            Pool.Return(_blocks.AsSpan(0, _blockCount));
        }

        _blockCount = 0;
        Length = 0;
    }

    /// <summary>Start of one layer of one block: <see cref="KvCacheLayout.LayerBytes"/> bytes, laid out as the layout's remarks say.</summary>
    internal byte* LayerPointer(int layer, int block) =>
        Pool.Pointer(_blocks[block]) + ((layer - Layout.Layers.Start) * Layout.LayerBytes);

    private void MakeWritable(int firstToken, int count)
    {
        for (int block = firstToken / Layout.BlockTokenCount; count > 0 && block <= (firstToken + count - 1) / Layout.BlockTokenCount; block++)
        {
            MakeWritable(block);
        }
    }

    private void MakeWritable(int block)
    {
        if (block < _blockCount && !Pool.IsWritable(_blocks[block]))
        {
            _blocks[block] = Pool.MakeWritable(_blocks[block]);
        }
    }

    internal void ThrowIfUnusable()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        ObjectDisposedException.ThrowIf(Pool.IsDisposed, Pool);
    }

    private void CheckTransfer(int layer, int firstToken, int count, int bytes, string name)
    {
        ThrowIfUnusable();
        ArgumentOutOfRangeException.ThrowIfNegative(firstToken);
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        if (!Layout.Layers.Contains(layer))
        {
            throw new ArgumentOutOfRangeException(nameof(layer), layer, $"This cache holds layers {Layout.Layers}.");
        }

        if ((long)firstToken + count > Capacity)
        {
            throw new ArgumentOutOfRangeException(nameof(count), count, $"Positions [{firstToken}, {(long)firstToken + count}) do not lie in the {Capacity} reserved ones.");
        }

        if (bytes != (long)count * Layout.TokenBytes)
        {
            throw new ArgumentException($"Expected {count} positions x {Layout.TokenBytes} bytes = {(long)count * Layout.TokenBytes} bytes, got {bytes}.", name);
        }
    }
}
