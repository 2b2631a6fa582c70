using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Attention;

/// <summary>How keys and values become floats in registers: a pair at a time, two vectors' worth of neighbouring elements.</summary>
internal unsafe interface IStoredPair
{
    /// <summary>Bytes of one element.</summary>
    static abstract int Bytes { get; }

    /// <summary>Whether the vectors take the pair's elements in turn, the even ones and the odd ones; otherwise one half each.</summary>
    static abstract bool InTurn { get; }

    /// <summary>Whether the elements are binary16, whose infinities and NaN <see cref="First"/> and <see cref="Second"/> do not know.</summary>
    static abstract bool IsHalf { get; }

    /// <summary>Which row of scales belongs to row <paramref name="k"/> of elements; 0 where there are none.</summary>
    static abstract nint ScaleRow(nint k);

    /// <summary>Where in a row of scales those of the elements from <paramref name="column"/> on begin; 0 where there are none.</summary>
    static abstract nint ScaleOf(int column);

    /// <summary>The first vector of a pair.</summary>
    /// <param name="source">The pair's elements.</param>
    /// <param name="scales">Their scales; not read where there are none.</param>
    /// <param name="bias">2^112 in each lane, held in a register.</param>
    static abstract TVector First<TVector, TLanes>(byte* source, float* scales, TVector bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>;

    /// <summary>The second vector of a pair; arguments as in <see cref="First"/>.</summary>
    static abstract TVector Second<TVector, TLanes>(byte* source, float* scales, TVector bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>;

    /// <summary>The product with a pair, or with a last vector that has no second, whatever its numbers. Arguments as those of <see cref="MatMul.FloatTile.Run"/>.</summary>
    static abstract void RunPlain<TVector, TLanes>(
        byte* w, byte* w1, nint strideBytes, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, nint second, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>;
}
