using System.Runtime.InteropServices;

namespace E2LLM.KvCaching;

/// <summary>
/// The memory of a pool's blocks, taken several blocks at a time when the first of them is asked for. Zeroed by the system when it is first written to, so that blocks that wait cost nothing; in stretches that large
/// pages fit into. Owns the memory. Not thread-safe, but <see cref="Pointer"/> of a block that was taken.
/// </summary>
internal sealed unsafe class KvBlockMemory(long blockBytes, int blockCount, Func<nuint, nint> allocate)
{
    private const long SlabBytes = 32 << 20;
    private const nuint Alignment = 64;

    private readonly nint[] _blocks = new nint[blockCount];
    private readonly List<nint> _slabs = [];

    /// <summary>Zeroed memory of the system.</summary>
    internal static nint Allocate(nuint bytes) => (nint)NativeMemory.AllocZeroed(bytes);

    /// <summary>Start of a block, on a cache line; null before <see cref="Take"/>.</summary>
    internal byte* Pointer(int block) => (byte*)_blocks[block];

    /// <summary>Makes sure that a block has memory: zeros at first, later what was written.</summary>
    /// <exception cref="OutOfMemoryException">The system has none.</exception>
    internal void Take(int block)
    {
        if (_blocks[block] != 0)
        {
            return;
        }

        int together = (int)Math.Clamp(SlabBytes / Math.Max(1, blockBytes), 1, blockCount), first = block / together * together, end = Math.Min(first + together, blockCount);
        nuint bytes = checked((nuint)(blockBytes * (end - first)));
        nint slab = allocate(bytes + Alignment);
        _slabs.Add(slab);
        byte* start = (byte*)(((nuint)slab + Alignment - 1) / Alignment * Alignment);
        LargePages.Ask(start, bytes);
        for (int i = first; i < end; i++)
        {
            _blocks[i] = (nint)(start + ((i - first) * blockBytes));
        }
    }

    /// <summary>Frees all of it; may be called again.</summary>
    internal void Free()
    {
        foreach (nint slab in _slabs)
        {
            NativeMemory.Free((void*)slab);
        }

        _slabs.Clear();
        Array.Clear(_blocks);
    }
}
