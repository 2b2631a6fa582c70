using System.Runtime.CompilerServices;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>The inner loops over words that hold two binary16 weights of one row; see <see cref="PackedHalfRows"/>.</summary>
/// <remarks>
/// Shapes: words <c>[depth / 2, rounded up][16]</c>; <c>scale</c> is the power of two that what is loaded must be multiplied by. Numerics: as <see cref="FloatTile"/> on the widened weights, bit for bit:
/// a product with a power of two rounds nothing.
/// </remarks>
internal static unsafe class HalfTile
{
    private const int GroupRows = PackedFloatRows.GroupRows;

    /// <summary>
    /// Four vectors of outputs for one token, streaming the weights: see <see cref="FloatTile.Run4x1"/>. Meanwhile what follows is fetched: in each stream, and at its end <paramref name="skip"/> bytes
    /// further, where the next four begin.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Run4x1<TVector, TLanes>(uint* w0, uint* w1, uint* w2, uint* w3, float scale, float* x, int depth, float* y0, float* y1, float* y2, float* y3, nint skip)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        TVector a0 = TLanes.Zero, a1 = a0, a2 = a0, a3 = a0, s = TLanes.Broadcast(scale);
        nint word = 0, lastOfStream = depth - (Prefetch.Distance / sizeof(uint) / GroupRows * 2);
        for (nint k = 0; k < depth - 1; k += 2, word += GroupRows)
        {
            nint ahead = Prefetch.Distance + (k < lastOfStream ? 0 : skip);
            Prefetch.Line((byte*)(w0 + word) + ahead);
            Prefetch.Line((byte*)(w1 + word) + ahead);
            Prefetch.Line((byte*)(w2 + word) + ahead);
            Prefetch.Line((byte*)(w3 + word) + ahead);
            TVector b = TLanes.Broadcast(x[k]);
            a0 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadLowHalves(w0 + word), s), b, a0);
            a1 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadLowHalves(w1 + word), s), b, a1);
            a2 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadLowHalves(w2 + word), s), b, a2);
            a3 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadLowHalves(w3 + word), s), b, a3);
            b = TLanes.Broadcast(x[k + 1]);
            a0 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadHighHalves(w0 + word), s), b, a0);
            a1 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadHighHalves(w1 + word), s), b, a1);
            a2 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadHighHalves(w2 + word), s), b, a2);
            a3 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadHighHalves(w3 + word), s), b, a3);
        }

        if (depth % 2 == 1)
        {
            TVector b = TLanes.Broadcast(x[depth - 1]);
            a0 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadLowHalves(w0 + word), s), b, a0);
            a1 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadLowHalves(w1 + word), s), b, a1);
            a2 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadLowHalves(w2 + word), s), b, a2);
            a3 = TLanes.MultiplyAdd(TLanes.Multiply(TLanes.LoadLowHalves(w3 + word), s), b, a3);
        }

        TLanes.Store(a0, y0);
        TLanes.Store(a1, y1);
        TLanes.Store(a2, y2);
        TLanes.Store(a3, y3);
    }

    /// <summary>
    /// Two vectors of outputs, side by side in y, for as many tokens as <see cref="FloatTile.Tokens"/> says, streaming the weights as <see cref="Run4x1"/> does: see <see cref="FloatTile.Run"/>.
    /// </summary>
    internal static void Run<TVector, TLanes>(uint* w0, uint* w1, float scale, float* x, nint xStride, int tokenCount, int depth, float* y, nint yStride, nint skip)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        if (tokenCount > 4)
        {
            Run2x8<TVector, TLanes>(w0, w1, scale, x, xStride, tokenCount, depth, y, yStride, skip);
        }
        else
        {
            Run2x4<TVector, TLanes>(w0, w1, scale, x, xStride, tokenCount, depth, y, yStride, skip);
        }
    }

    // Five to eight tokens; a missing one is a copy of the first.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Run2x8<TVector, TLanes>(uint* w0, uint* w1, float scale, float* x, nint xStride, int tokenCount, int depth, float* y, nint yStride, nint skip)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        nint sixth = tokenCount > 5 ? 5 : 0, seventh = tokenCount > 6 ? 6 : 0, eighth = tokenCount > 7 ? 7 : 0;
        float* x1 = x + xStride, x2 = x1 + xStride, x3 = x2 + xStride, x4 = x3 + xStride;
        float* x5 = x + (sixth * xStride), x6 = x + (seventh * xStride), x7 = x + (eighth * xStride);
        TVector a00 = TLanes.Zero, s = TLanes.Broadcast(scale), a01 = a00, a02 = a00, a03 = a00, a04 = a00, a05 = a00, a06 = a00, a07 = a00;
        TVector a10 = a00, a11 = a00, a12 = a00, a13 = a00, a14 = a00, a15 = a00, a16 = a00, a17 = a00;
        nint lastOfStream = depth - (Prefetch.Distance / sizeof(uint) / GroupRows * 2);
        for (nint k = 0; k < depth; k++)
        {
            TVector v0, v1;
            if (k % 2 == 0)
            {
                nint ahead = Prefetch.Distance + (k < lastOfStream ? 0 : skip);
                Prefetch.Line((byte*)w0 + ahead);
                Prefetch.Line((byte*)w1 + ahead);
                (v0, v1) = (TLanes.Multiply(TLanes.LoadLowHalves(w0), s), TLanes.Multiply(TLanes.LoadLowHalves(w1), s));
            }
            else
            {
                (v0, v1) = (TLanes.Multiply(TLanes.LoadHighHalves(w0), s), TLanes.Multiply(TLanes.LoadHighHalves(w1), s));
                w0 += GroupRows;
                w1 += GroupRows;
            }

            TVector b = TLanes.Broadcast(x[k]);
            a00 = TLanes.MultiplyAdd(v0, b, a00);
            a10 = TLanes.MultiplyAdd(v1, b, a10);
            b = TLanes.Broadcast(x1[k]);
            a01 = TLanes.MultiplyAdd(v0, b, a01);
            a11 = TLanes.MultiplyAdd(v1, b, a11);
            b = TLanes.Broadcast(x2[k]);
            a02 = TLanes.MultiplyAdd(v0, b, a02);
            a12 = TLanes.MultiplyAdd(v1, b, a12);
            b = TLanes.Broadcast(x3[k]);
            a03 = TLanes.MultiplyAdd(v0, b, a03);
            a13 = TLanes.MultiplyAdd(v1, b, a13);
            b = TLanes.Broadcast(x4[k]);
            a04 = TLanes.MultiplyAdd(v0, b, a04);
            a14 = TLanes.MultiplyAdd(v1, b, a14);
            b = TLanes.Broadcast(x5[k]);
            a05 = TLanes.MultiplyAdd(v0, b, a05);
            a15 = TLanes.MultiplyAdd(v1, b, a15);
            b = TLanes.Broadcast(x6[k]);
            a06 = TLanes.MultiplyAdd(v0, b, a06);
            a16 = TLanes.MultiplyAdd(v1, b, a16);
            b = TLanes.Broadcast(x7[k]);
            a07 = TLanes.MultiplyAdd(v0, b, a07);
            a17 = TLanes.MultiplyAdd(v1, b, a17);
        }

        Store<TVector, TLanes>(y, a00, a10);
        Store<TVector, TLanes>(y + yStride, a01, a11);
        Store<TVector, TLanes>(y + (2 * yStride), a02, a12);
        Store<TVector, TLanes>(y + (3 * yStride), a03, a13);
        Store<TVector, TLanes>(y + (4 * yStride), a04, a14);
        Store<TVector, TLanes>(y + (sixth * yStride), a05, a15);
        Store<TVector, TLanes>(y + (seventh * yStride), a06, a16);
        Store<TVector, TLanes>(y + (eighth * yStride), a07, a17);
    }

    // Two to four tokens; a missing one is a copy of the first.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Run2x4<TVector, TLanes>(uint* w0, uint* w1, float scale, float* x, nint xStride, int tokenCount, int depth, float* y, nint yStride, nint skip)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        nint second = tokenCount > 1 ? 1 : 0, third = tokenCount > 2 ? 2 : 0, fourth = tokenCount > 3 ? 3 : 0;
        float* x1 = x + (second * xStride), x2 = x + (third * xStride), x3 = x + (fourth * xStride);
        TVector a00 = TLanes.Zero, s = TLanes.Broadcast(scale), a01 = a00, a02 = a00, a03 = a00;
        TVector a10 = a00, a11 = a00, a12 = a00, a13 = a00;
        nint lastOfStream = depth - (Prefetch.Distance / sizeof(uint) / GroupRows * 2);
        for (nint k = 0; k < depth; k++)
        {
            TVector v0, v1;
            if (k % 2 == 0)
            {
                nint ahead = Prefetch.Distance + (k < lastOfStream ? 0 : skip);
                Prefetch.Line((byte*)w0 + ahead);
                Prefetch.Line((byte*)w1 + ahead);
                (v0, v1) = (TLanes.Multiply(TLanes.LoadLowHalves(w0), s), TLanes.Multiply(TLanes.LoadLowHalves(w1), s));
            }
            else
            {
                (v0, v1) = (TLanes.Multiply(TLanes.LoadHighHalves(w0), s), TLanes.Multiply(TLanes.LoadHighHalves(w1), s));
                w0 += GroupRows;
                w1 += GroupRows;
            }

            TVector b = TLanes.Broadcast(x[k]);
            a00 = TLanes.MultiplyAdd(v0, b, a00);
            a10 = TLanes.MultiplyAdd(v1, b, a10);
            b = TLanes.Broadcast(x1[k]);
            a01 = TLanes.MultiplyAdd(v0, b, a01);
            a11 = TLanes.MultiplyAdd(v1, b, a11);
            b = TLanes.Broadcast(x2[k]);
            a02 = TLanes.MultiplyAdd(v0, b, a02);
            a12 = TLanes.MultiplyAdd(v1, b, a12);
            b = TLanes.Broadcast(x3[k]);
            a03 = TLanes.MultiplyAdd(v0, b, a03);
            a13 = TLanes.MultiplyAdd(v1, b, a13);
        }

        Store<TVector, TLanes>(y, a00, a10);
        Store<TVector, TLanes>(y + (second * yStride), a01, a11);
        Store<TVector, TLanes>(y + (third * yStride), a02, a12);
        Store<TVector, TLanes>(y + (fourth * yStride), a03, a13);
    }

    /// <summary><c>panel[k * stride + lane]</c> becomes weight k of each lane's row, for k below <paramref name="depth"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Widen<TVector, TLanes>(uint* words, float scale, int depth, float* panel, nint stride)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        TVector s = TLanes.Broadcast(scale);
        for (nint k = 0; k < depth - 1; k += 2, words += GroupRows)
        {
            Prefetch.Ahead((byte*)words, 1);
            TLanes.Store(TLanes.Multiply(TLanes.LoadLowHalves(words), s), panel + (k * stride));
            TLanes.Store(TLanes.Multiply(TLanes.LoadHighHalves(words), s), panel + ((k + 1) * stride));
        }

        if (depth % 2 == 1)
        {
            TLanes.Store(TLanes.Multiply(TLanes.LoadLowHalves(words), s), panel + ((depth - 1) * stride));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TVector, TLanes>(float* y, TVector first, TVector second)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        TLanes.Store(first, y);
        TLanes.Store(second, y + TLanes.Count);
    }
}
