namespace E2LLM.Kernels.Attention;

/// <summary>A stored block of keys or values as a product sees it: rows of one element each of every output. Borrowed pointers.</summary>
/// <param name="data">First row.</param>
/// <param name="strideBytes">Bytes from row to row.</param>
/// <param name="scales">First row of scales, as floats; null where the type has none.</param>
/// <param name="scaleStride">Scales from row to row of them.</param>
/// <param name="ahead">Bytes from what is read to what is to be fetched meanwhile; 0 for nothing.</param>
internal readonly unsafe struct StoredMatrix(byte* data, nint strideBytes, float* scales, nint scaleStride, nint ahead)
{
    internal readonly byte* Data = data;
    internal readonly nint StrideBytes = strideBytes;
    internal readonly float* Scales = scales;
    internal readonly nint ScaleStride = scaleStride;
    internal readonly nint Ahead = ahead;

    /// <summary>The columns from one on.</summary>
    internal StoredMatrix From(nint bytes, nint scales) => new(Data + bytes, StrideBytes, Scales + scales, ScaleStride, Ahead);

    /// <summary>The same, with nothing to be fetched.</summary>
    internal StoredMatrix AtHand() => new(Data, StrideBytes, Scales, ScaleStride, 0);
}
