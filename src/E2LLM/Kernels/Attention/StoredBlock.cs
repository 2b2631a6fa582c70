namespace E2LLM.Kernels.Attention;

/// <summary>A block of one key/value head as it lies in the cache. Borrowed pointers.</summary>
/// <param name="type">How an element is stored.</param>
/// <param name="keys"><c>[headDim][64]</c>.</param>
/// <param name="keyScales"><c>[headDim / 32][64]</c>, binary16; only of Q8_0.</param>
/// <param name="values"><c>[64][valueStride]</c>, behind the keys.</param>
/// <param name="valueScales"><c>[64][headDim / 32]</c>, binary16; only of Q8_0.</param>
/// <param name="nextKeys">The keys of the block that will be read afterwards, which lies as this one does: it is fetched meanwhile.</param>
internal readonly unsafe struct StoredBlock(KvElementType type, byte* keys, ushort* keyScales, byte* values, ushort* valueScales, byte* nextKeys)
{
    internal readonly KvElementType Type = type;
    internal readonly byte* Keys = keys;
    internal readonly ushort* KeyScales = keyScales;
    internal readonly byte* Values = values;
    internal readonly ushort* ValueScales = valueScales;

    /// <summary>Bytes from this block to the one that is fetched.</summary>
    internal readonly nint Ahead = (nint)nextKeys - (nint)keys;
}
