using System.Runtime.CompilerServices;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Attention;

/// <summary>
/// Products of a few rows with a binary16 matrix that is widened in registers: <c>y[row][i] (+)= sum over k ascending of w[k][i] * x[row][k]</c>. A vector of 32-bit words holds two outputs' weights a
/// lane, those of even and of odd index; outputs are written back in their order.
/// </summary>
/// <remarks>
/// Shapes: w <c>[depth][stride]</c>, two vectors of words of each row taken; x <c>[rows][xStride]</c>; y <c>[rows][yStride]</c>, four vectors of each row. Finite weights only. Nothing overlaps. Numerics: as
/// <see cref="MatMul.FloatTile"/> on the widened weights, bit for bit. A missing row or second vector is a copy of the first.
/// </remarks>
internal static unsafe class HalfPairTile
{
    // The bias that LoadLowHalves leaves out.
    private const float Scale = 5.192296858534828e33f; // 2^112

    /// <summary>Rows that <see cref="Run"/> takes at most.</summary>
    internal static int Rows<TVector, TLanes>()
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.Count == 16 ? 4 : 2;

    /// <summary>Runs the product for up to <see cref="Rows"/> rows.</summary>
    /// <param name="w0">First vector of words at k = 0.</param>
    /// <param name="w1">Second vector, or <paramref name="w0"/> again.</param>
    /// <param name="stride">Words from k to k + 1.</param>
    /// <param name="ahead">Bytes from what is read to what is to be fetched meanwhile; 0 for nothing.</param>
    /// <param name="x">Factors of the first row.</param>
    /// <param name="xStride">Elements from row to row.</param>
    /// <param name="rowCount">1 or more.</param>
    /// <param name="depth">Terms of each sum.</param>
    /// <param name="y">Output of the first row and vector.</param>
    /// <param name="yStride">Elements from row to row.</param>
    /// <param name="second">Elements from the outputs of the first vector of words to those of the second; 0 where there is none.</param>
    /// <param name="accumulate">Whether sums start from what <paramref name="y"/> holds.</param>
    internal static void Run<TVector, TLanes>(
        uint* w0, uint* w1, nint stride, nint ahead, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, nint second, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        if (rowCount > 2)
        {
            Run2x4<TVector, TLanes>(w0, w1, stride, ahead, x, xStride, rowCount, depth, y, yStride, second, accumulate, Scale);
        }
        else
        {
            Run2x2<TVector, TLanes>(w0, w1, stride, ahead, x, xStride, rowCount, depth, y, yStride, second, accumulate, Scale);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Run2x2<TVector, TLanes>(
        uint* w0, uint* w1, nint stride, nint ahead, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, nint second, bool accumulate, float scale)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        float* x1 = rowCount > 1 ? x + xStride : x, y1 = rowCount > 1 ? y + yStride : y;
        TVector e00 = TLanes.Zero, o00 = e00, e10 = e00, o10 = e00, e01 = e00, o01 = e00, e11 = e00, o11 = e00, s = TLanes.Broadcast(scale);
        if (accumulate)
        {
            (e00, o00, e10, o10) = (TLanes.LoadEven(y), TLanes.LoadOdd(y), TLanes.LoadEven(y + second), TLanes.LoadOdd(y + second));
            (e01, o01, e11, o11) = (TLanes.LoadEven(y1), TLanes.LoadOdd(y1), TLanes.LoadEven(y1 + second), TLanes.LoadOdd(y1 + second));
        }

        for (nint k = 0; k < depth; k++, w0 += stride, w1 += stride)
        {
            Prefetch.Line((byte*)w0 + ahead);
            Prefetch.Line((byte*)w1 + ahead);
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

        TLanes.StoreInTurn(e00, o00, y);
        TLanes.StoreInTurn(e10, o10, y + second);
        TLanes.StoreInTurn(e01, o01, y1);
        TLanes.StoreInTurn(e11, o11, y1 + second);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Run2x4<TVector, TLanes>(
        uint* w0, uint* w1, nint stride, nint ahead, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, nint second, bool accumulate, float scale)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        nint fourth = rowCount > 3 ? 3 : 0;
        float* x1 = x + xStride, x2 = x1 + xStride, x3 = x + (fourth * xStride), y1 = y + yStride, y2 = y1 + yStride, y3 = y + (fourth * yStride);
        TVector e00 = TLanes.Zero, o00 = e00, e10 = e00, o10 = e00, e01 = e00, o01 = e00, e11 = e00, o11 = e00;
        TVector e02 = e00, o02 = e00, e12 = e00, o12 = e00, e03 = e00, o03 = e00, e13 = e00, o13 = e00, s = TLanes.Broadcast(scale);
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

        TLanes.StoreInTurn(e00, o00, y);
        TLanes.StoreInTurn(e10, o10, y + second);
        TLanes.StoreInTurn(e01, o01, y1);
        TLanes.StoreInTurn(e11, o11, y1 + second);
        TLanes.StoreInTurn(e02, o02, y2);
        TLanes.StoreInTurn(e12, o12, y2 + second);
        TLanes.StoreInTurn(e03, o03, y3);
        TLanes.StoreInTurn(e13, o13, y3 + second);
    }
}
