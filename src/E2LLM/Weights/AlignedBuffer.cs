using System.Runtime.InteropServices;

namespace E2LLM.Weights;

/// <summary>
/// Zeroed native memory on a cache-line boundary, freed by <see cref="IDisposable.Dispose"/> (or by the finalizer). Whoever uses <see cref="Pointer"/>
/// keeps the buffer alive. Not thread-safe to dispose.
/// </summary>
internal sealed unsafe class AlignedBuffer : IDisposable
{
    private const int Alignment = 64;

    // Reads of whole vectors, and prefetches, may run this far past the end.
    private const int Slack = 64;

    private void* _allocated;

    internal AlignedBuffer(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        Bytes = RoundUp(bytes);

        // Large zeroed memory comes straight from the system: its pages are taken, and cleared, by whoever writes to them first.
        _allocated = NativeMemory.AllocZeroed(checked((nuint)(Bytes + Slack + Alignment)));
        Pointer = (byte*)(((nuint)_allocated + Alignment - 1) / Alignment * Alignment);
        LargePages.Ask(Pointer, (nuint)Bytes);
    }

    private AlignedBuffer(byte* pointer, long bytes)
    {
        Pointer = pointer;
        Bytes = bytes;
        GC.SuppressFinalize(this);
    }

    ~AlignedBuffer() => Free();

    /// <summary>First byte; null once disposed.</summary>
    internal byte* Pointer { get; private set; }

    /// <summary>First element, as floats.</summary>
    internal float* Floats => (float*)Pointer;

    /// <summary>Size, rounded up to whole cache lines.</summary>
    internal long Bytes { get; }

    /// <summary>What a buffer of <paramref name="bytes"/> takes: the same figure as <see cref="Bytes"/>.</summary>
    internal static long RoundUp(long bytes) => checked((bytes + Alignment - 1) / Alignment * Alignment);

    /// <summary>A part that owns nothing: whoever uses it keeps this buffer alive.</summary>
    /// <param name="offset">A multiple of the alignment.</param>
    /// <param name="bytes">Size, which is rounded up; must lie within the buffer then.</param>
    internal AlignedBuffer Part(long offset, long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(RoundUp(bytes), Bytes - offset, nameof(bytes));
        return new AlignedBuffer(Pointer + offset, RoundUp(bytes));
    }

    /// <summary>The same bytes in memory of their own.</summary>
    internal AlignedBuffer Copy()
    {
        var copy = new AlignedBuffer(Bytes);
        Buffer.MemoryCopy(Pointer, copy.Pointer, copy.Bytes, Bytes);
        GC.KeepAlive(this);
        return copy;
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        // Null for a part.
        NativeMemory.Free(_allocated);
        _allocated = null;
        Pointer = null;
    }
}
