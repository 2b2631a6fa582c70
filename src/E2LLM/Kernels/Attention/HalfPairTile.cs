using System.Runtime.CompilerServices;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Attention;

/// <summary>
/// Products of a few rows with a binary16 matrix that is widened in registers: <c>y[row][i] (+)= sum over k ascending of w[k][i] * x[row][k]</c>. A vector of 32-bit words holds two outputs' weights a
/// lane, those of even and of odd index; outputs are written back in their order.
/// </summary>
/// <remarks>
/// Shapes: w <c>[depth][stride]</c>, two vectors of words of each row taken; x <c>[rows][xStride]</c>; y <c>[rows][yStride]</c>, four vectors of each row. Nothing overlaps. Numerics: as
/// <see cref="MatMul.FloatTile"/> on the widened weights, bit for bit; infinities and NaN are noticed and left to it. A missing row is a copy of the first.
/// </remarks>
internal static unsafe class HalfPairTile
{
    /// <summary>Vectors of outputs.</summary>
    internal const int Vectors = 4;

    // The bias that LoadLowHalves leaves out.
    private const float Scale = 5.192296858534828e33f; // 2^112

    /// <summary>Rows that <see cref="TryRun"/> takes at most.</summary>
    internal static int Rows<TVector, TLanes>()
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.Count == 16 ? 8 : 2;

    /// <summary>Runs the product for up to <see cref="Rows"/> rows; false, and nothing written, where a weight is infinite or NaN.</summary>
    /// <param name="w">First word at k = 0.</param>
    /// <param name="stride">Words from k to k + 1.</param>
    /// <param name="ahead">Bytes from what is read to what is to be fetched meanwhile; 0 for nothing.</param>
    /// <param name="x">Factors of the first row.</param>
    /// <param name="xStride">Elements from row to row.</param>
    /// <param name="rowCount">1 or more.</param>
    /// <param name="depth">Terms of each sum.</param>
    /// <param name="y">Output of the first row.</param>
    /// <param name="yStride">Elements from row to row.</param>
    /// <param name="accumulate">Whether sums start from what <paramref name="y"/> holds.</param>
    internal static bool TryRun<TVector, TLanes>(uint* w, nint stride, nint ahead, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        if (rowCount <= 2)
        {
            return Run2x2<TVector, TLanes>(w, stride, ahead, x, xStride, rowCount, depth, y, yStride, accumulate, Scale);
        }

        if (rowCount <= 4)
        {
            return Run2x4<TVector, TLanes>(w, stride, ahead, x, xStride, rowCount, depth, y, yStride, accumulate, Scale);
        }

        // Of the halves of the outputs neither is written before both are known to be finite.
        return AreFinite<TVector, TLanes>(w, stride, depth)
            && Run1x8<TVector, TLanes>(w, stride, ahead, x, xStride, rowCount, depth, y, yStride, accumulate, Scale)
            && Run1x8<TVector, TLanes>(w + TLanes.Count, stride, ahead, x, xStride, rowCount, depth, y + (2 * TLanes.Count), yStride, accumulate, Scale);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool Run2x2<TVector, TLanes>(
        uint* w, nint stride, nint ahead, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, bool accumulate, float scale)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        uint* w0 = w, w1 = w + TLanes.Count;
        nint second = 2 * TLanes.Count;
        float* x1 = rowCount > 1 ? x + xStride : x, y1 = rowCount > 1 ? y + yStride : y;
        TVector e00 = TLanes.Zero, o00 = e00, e10 = e00, o10 = e00, e01 = e00, o01 = e00, e11 = e00, o11 = e00, s = TLanes.Broadcast(scale), largest = e00;
        if (accumulate)
        {
            (e00, o00, e10, o10) = (TLanes.LoadEven(y), TLanes.LoadOdd(y), TLanes.LoadEven(y + second), TLanes.LoadOdd(y + second));
            (e01, o01, e11, o11) = (TLanes.LoadEven(y1), TLanes.LoadOdd(y1), TLanes.LoadEven(y1 + second), TLanes.LoadOdd(y1 + second));
        }

        for (nint k = 0; k < depth; k++, w0 += stride, w1 += stride)
        {
            Prefetch.Line((byte*)w0 + ahead);
            Prefetch.Line((byte*)w1 + ahead);
            largest = TLanes.LargestHalves(TLanes.LargestHalves(largest, w0), w1);
            TVector a = TLanes.Broadcast(x[k]), b = TLanes.Broadcast(x1[k]);
            TVector even = TLanes.Multiply(TLanes.LoadLowHalves(w0), s), odd = TLanes.Multiply(TLanes.LoadHighHalves(w0), s);
            e00 = TLanes.MultiplyAdd(even, a, e00);
            o00 = TLanes.MultiplyAdd(odd, a, o00);
            e01 = TLanes.MultiplyAdd(even, b, e01);
            o01 = TLanes.MultiplyAdd(odd, b, o01);
            even = TLanes.Multiply(TLanes.LoadLowHalves(w1), s);
            odd = TLanes.Multiply(TLanes.LoadHighHalves(w1), s);
            e10 = TLanes.MultiplyAdd(even, a, e10);
            o10 = TLanes.MultiplyAdd(odd, a, o10);
            e11 = TLanes.MultiplyAdd(even, b, e11);
            o11 = TLanes.MultiplyAdd(odd, b, o11);
        }

        if (TLanes.AnySpecialHalf(largest))
        {
            return false;
        }

        TLanes.StoreInTurn(e00, o00, y);
        TLanes.StoreInTurn(e10, o10, y + second);
        TLanes.StoreInTurn(e01, o01, y1);
        TLanes.StoreInTurn(e11, o11, y1 + second);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool Run2x4<TVector, TLanes>(
        uint* w, nint stride, nint ahead, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, bool accumulate, float scale)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        nint fourth = rowCount > 3 ? 3 : 0;
        uint* w0 = w, w1 = w + TLanes.Count;
        nint second = 2 * TLanes.Count;
        float* x1 = x + xStride, x2 = x1 + xStride, x3 = x + (fourth * xStride), y1 = y + yStride, y2 = y1 + yStride, y3 = y + (fourth * yStride);
        TVector e00 = TLanes.Zero, o00 = e00, e10 = e00, o10 = e00, e01 = e00, o01 = e00, e11 = e00, o11 = e00;
        TVector e02 = e00, o02 = e00, e12 = e00, o12 = e00, e03 = e00, o03 = e00, e13 = e00, o13 = e00, s = TLanes.Broadcast(scale), largest = e00;
        if (accumulate)
        {
            (e00, o00, e10, o10) = (TLanes.LoadEven(y), TLanes.LoadOdd(y), TLanes.LoadEven(y + second), TLanes.LoadOdd(y + second));
            (e01, o01, e11, o11) = (TLanes.LoadEven(y1), TLanes.LoadOdd(y1), TLanes.LoadEven(y1 + second), TLanes.LoadOdd(y1 + second));
            (e02, o02, e12, o12) = (TLanes.LoadEven(y2), TLanes.LoadOdd(y2), TLanes.LoadEven(y2 + second), TLanes.LoadOdd(y2 + second));
            (e03, o03, e13, o13) = (TLanes.LoadEven(y3), TLanes.LoadOdd(y3), TLanes.LoadEven(y3 + second), TLanes.LoadOdd(y3 + second));
        }

        for (nint k = 0; k < depth; k++, w0 += stride, w1 += stride)
        {
            Prefetch.Line((byte*)w0 + ahead);
            Prefetch.Line((byte*)w1 + ahead);
            largest = TLanes.LargestHalves(TLanes.LargestHalves(largest, w0), w1);
            TVector even0 = TLanes.Multiply(TLanes.LoadLowHalves(w0), s), odd0 = TLanes.Multiply(TLanes.LoadHighHalves(w0), s);
            TVector even1 = TLanes.Multiply(TLanes.LoadLowHalves(w1), s), odd1 = TLanes.Multiply(TLanes.LoadHighHalves(w1), s);
            TVector a = TLanes.Broadcast(x[k]);
            e00 = TLanes.MultiplyAdd(even0, a, e00);
            o00 = TLanes.MultiplyAdd(odd0, a, o00);
            e10 = TLanes.MultiplyAdd(even1, a, e10);
            o10 = TLanes.MultiplyAdd(odd1, a, o10);
            a = TLanes.Broadcast(x1[k]);
            e01 = TLanes.MultiplyAdd(even0, a, e01);
            o01 = TLanes.MultiplyAdd(odd0, a, o01);
            e11 = TLanes.MultiplyAdd(even1, a, e11);
            o11 = TLanes.MultiplyAdd(odd1, a, o11);
            a = TLanes.Broadcast(x2[k]);
            e02 = TLanes.MultiplyAdd(even0, a, e02);
            o02 = TLanes.MultiplyAdd(odd0, a, o02);
            e12 = TLanes.MultiplyAdd(even1, a, e12);
            o12 = TLanes.MultiplyAdd(odd1, a, o12);
            a = TLanes.Broadcast(x3[k]);
            e03 = TLanes.MultiplyAdd(even0, a, e03);
            o03 = TLanes.MultiplyAdd(odd0, a, o03);
            e13 = TLanes.MultiplyAdd(even1, a, e13);
            o13 = TLanes.MultiplyAdd(odd1, a, o13);
        }

        if (TLanes.AnySpecialHalf(largest))
        {
            return false;
        }

        TLanes.StoreInTurn(e00, o00, y);
        TLanes.StoreInTurn(e10, o10, y + second);
        TLanes.StoreInTurn(e01, o01, y1);
        TLanes.StoreInTurn(e11, o11, y1 + second);
        TLanes.StoreInTurn(e02, o02, y2);
        TLanes.StoreInTurn(e12, o12, y2 + second);
        TLanes.StoreInTurn(e03, o03, y3);
        TLanes.StoreInTurn(e13, o13, y3 + second);
        return true;
    }

    // One vector of words for five to eight rows: a word is widened for twice as many products.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool Run1x8<TVector, TLanes>(
        uint* w, nint stride, nint ahead, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, bool accumulate, float scale)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        nint sixth = rowCount > 5 ? 5 : 0, seventh = rowCount > 6 ? 6 : 0, eighth = rowCount > 7 ? 7 : 0;
        float* x1 = x + xStride, x2 = x1 + xStride, x3 = x2 + xStride, x4 = x3 + xStride, x5 = x + (sixth * xStride), x6 = x + (seventh * xStride), x7 = x + (eighth * xStride);
        float* y1 = y + yStride, y2 = y1 + yStride, y3 = y2 + yStride, y4 = y3 + yStride, y5 = y + (sixth * yStride), y6 = y + (seventh * yStride), y7 = y + (eighth * yStride);
        TVector e0 = TLanes.Zero, e1 = e0, e2 = e0, e3 = e0, e4 = e0, e5 = e0, e6 = e0, e7 = e0, o0 = e0, o1 = e0, o2 = e0, o3 = e0, o4 = e0, o5 = e0, o6 = e0, o7 = e0, s = TLanes.Broadcast(scale);
        if (accumulate)
        {
            (e0, o0, e1, o1) = (TLanes.LoadEven(y), TLanes.LoadOdd(y), TLanes.LoadEven(y1), TLanes.LoadOdd(y1));
            (e2, o2, e3, o3) = (TLanes.LoadEven(y2), TLanes.LoadOdd(y2), TLanes.LoadEven(y3), TLanes.LoadOdd(y3));
            (e4, o4, e5, o5) = (TLanes.LoadEven(y4), TLanes.LoadOdd(y4), TLanes.LoadEven(y5), TLanes.LoadOdd(y5));
            (e6, o6, e7, o7) = (TLanes.LoadEven(y6), TLanes.LoadOdd(y6), TLanes.LoadEven(y7), TLanes.LoadOdd(y7));
        }

        for (nint k = 0; k < depth; k++, w += stride)
        {
            Prefetch.Line((byte*)w + ahead);
            TVector even = TLanes.Multiply(TLanes.LoadLowHalves(w), s), odd = TLanes.Multiply(TLanes.LoadHighHalves(w), s);
            TVector a = TLanes.Broadcast(x[k]);
            e0 = TLanes.MultiplyAdd(even, a, e0);
            o0 = TLanes.MultiplyAdd(odd, a, o0);
            a = TLanes.Broadcast(x1[k]);
            e1 = TLanes.MultiplyAdd(even, a, e1);
            o1 = TLanes.MultiplyAdd(odd, a, o1);
            a = TLanes.Broadcast(x2[k]);
            e2 = TLanes.MultiplyAdd(even, a, e2);
            o2 = TLanes.MultiplyAdd(odd, a, o2);
            a = TLanes.Broadcast(x3[k]);
            e3 = TLanes.MultiplyAdd(even, a, e3);
            o3 = TLanes.MultiplyAdd(odd, a, o3);
            a = TLanes.Broadcast(x4[k]);
            e4 = TLanes.MultiplyAdd(even, a, e4);
            o4 = TLanes.MultiplyAdd(odd, a, o4);
            a = TLanes.Broadcast(x5[k]);
            e5 = TLanes.MultiplyAdd(even, a, e5);
            o5 = TLanes.MultiplyAdd(odd, a, o5);
            a = TLanes.Broadcast(x6[k]);
            e6 = TLanes.MultiplyAdd(even, a, e6);
            o6 = TLanes.MultiplyAdd(odd, a, o6);
            a = TLanes.Broadcast(x7[k]);
            e7 = TLanes.MultiplyAdd(even, a, e7);
            o7 = TLanes.MultiplyAdd(odd, a, o7);
        }

        TLanes.StoreInTurn(e0, o0, y);
        TLanes.StoreInTurn(e1, o1, y1);
        TLanes.StoreInTurn(e2, o2, y2);
        TLanes.StoreInTurn(e3, o3, y3);
        TLanes.StoreInTurn(e4, o4, y4);
        TLanes.StoreInTurn(e5, o5, y5);
        TLanes.StoreInTurn(e6, o6, y6);
        TLanes.StoreInTurn(e7, o7, y7);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool AreFinite<TVector, TLanes>(uint* w, nint stride, int depth)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        TVector first = TLanes.Zero, second = first;
        for (nint k = 0; k < depth; k++, w += stride)
        {
            first = TLanes.LargestHalves(first, w);
            second = TLanes.LargestHalves(second, w + TLanes.Count);
        }

        return !TLanes.AnySpecialHalf(first) && !TLanes.AnySpecialHalf(second);
    }
}
