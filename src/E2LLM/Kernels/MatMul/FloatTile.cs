using System.Runtime.CompilerServices;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// The inner loops of every float product: a few vectors of outputs in lanes, the depth walked in order.
/// <c>y[t][lane] = (accumulate ? y[t][lane] : 0) + sum over k ascending of w[k][lane] * x[t][k]</c>.
/// </summary>
/// <remarks>
/// Shapes: <c>w</c> is <c>[depth][strideBytes]</c> with the lanes side by side; <c>x</c> is <c>[tokens][depth]</c>, row stride in elements.
/// Numerics: one accumulator per output, k ascending, one <see cref="IFloatLanes{TVector}.MultiplyAdd"/> per term: the same bits in <see cref="Run2x8"/>, <see cref="Run2x4"/> and
/// <see cref="Run4x1"/>, for every number of tokens. A missing token or vector is passed as a copy of the first (same inputs, same output
/// address): it is computed twice and stored twice, the same bits. Outputs may not overlap inputs.
/// </remarks>
internal static unsafe class FloatTile
{
    /// <summary>Vectors that one token meets at a time. Two of sixteen floats are two streams of whole lines, which the outer caches deliver quicker than four.</summary>
    internal static int OneTokenVectors<TVector, TLanes, TElement>()
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TElement : IFloatElement => TLanes.Count == 16 && TElement.Bytes == sizeof(float) ? 2 : 4;

    /// <summary>Tokens that <see cref="Run"/> takes at most: what the registers hold.</summary>
    internal static int Tokens<TVector, TLanes>()
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.Count == 16 ? 8 : 4;

    /// <summary>Two vectors of outputs for up to <see cref="Tokens"/> tokens.</summary>
    /// <param name="w0">Lanes of the first vector at k = 0.</param>
    /// <param name="w1">Lanes of the second vector; <paramref name="w0"/> again where there is none.</param>
    /// <param name="strideBytes">From k to k + 1.</param>
    /// <param name="x">Activations of the first token.</param>
    /// <param name="xStride">Elements from token to token.</param>
    /// <param name="tokenCount">1 or more.</param>
    /// <param name="depth">Terms of each sum.</param>
    /// <param name="y">Output of the first vector and token.</param>
    /// <param name="yStride">Elements from token to token.</param>
    /// <param name="secondVector">Elements from an output of the first vector to that of the second; 0 where there is none.</param>
    /// <param name="accumulate">Whether sums start from what <paramref name="y"/> holds.</param>
    internal static void Run<TVector, TLanes, TElement>(
        byte* w0, byte* w1, nint strideBytes, float* x, nint xStride, int tokenCount, int depth, float* y, nint yStride, nint secondVector, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TElement : IFloatElement
    {
        if (tokenCount > 4)
        {
            Run2x8<TVector, TLanes, TElement>(w0, w1, strideBytes, x, xStride, tokenCount, depth, y, yStride, secondVector, accumulate);
        }
        else
        {
            Run2x4<TVector, TLanes, TElement>(w0, w1, strideBytes, x, xStride, tokenCount, depth, y, yStride, secondVector, accumulate);
        }
    }

    /// <summary>Two vectors of outputs for five to eight tokens; see <see cref="Run"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Run2x8<TVector, TLanes, TElement>(
        byte* w0, byte* w1, nint strideBytes, float* x, nint xStride, int tokenCount, int depth, float* y, nint yStride, nint secondVector, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TElement : IFloatElement
    {
        nint sixth = tokenCount > 5 ? 5 : 0, seventh = tokenCount > 6 ? 6 : 0, eighth = tokenCount > 7 ? 7 : 0;
        float* x1 = x + xStride, x2 = x1 + xStride, x3 = x2 + xStride, x4 = x3 + xStride;
        float* x5 = x + (sixth * xStride), x6 = x + (seventh * xStride), x7 = x + (eighth * xStride);
        TVector a00 = TLanes.Zero, a01 = a00, a02 = a00, a03 = a00, a04 = a00, a05 = a00, a06 = a00, a07 = a00;
        TVector a10 = a00, a11 = a00, a12 = a00, a13 = a00, a14 = a00, a15 = a00, a16 = a00, a17 = a00;
        if (accumulate)
        {
            (a00, a10) = (TLanes.Load(y), TLanes.Load(y + secondVector));
            (a01, a11) = (TLanes.Load(y + yStride), TLanes.Load(y + yStride + secondVector));
            (a02, a12) = (TLanes.Load(y + (2 * yStride)), TLanes.Load(y + (2 * yStride) + secondVector));
            (a03, a13) = (TLanes.Load(y + (3 * yStride)), TLanes.Load(y + (3 * yStride) + secondVector));
            (a04, a14) = (TLanes.Load(y + (4 * yStride)), TLanes.Load(y + (4 * yStride) + secondVector));
            (a05, a15) = (TLanes.Load(y + (sixth * yStride)), TLanes.Load(y + (sixth * yStride) + secondVector));
            (a06, a16) = (TLanes.Load(y + (seventh * yStride)), TLanes.Load(y + (seventh * yStride) + secondVector));
            (a07, a17) = (TLanes.Load(y + (eighth * yStride)), TLanes.Load(y + (eighth * yStride) + secondVector));
        }

        for (nint k = 0; k < depth; k++)
        {
            TVector v0 = TElement.Load<TVector, TLanes>(w0), v1 = TElement.Load<TVector, TLanes>(w1);
            w0 += strideBytes;
            w1 += strideBytes;
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

        Store<TVector, TLanes>(y, secondVector, a00, a10);
        Store<TVector, TLanes>(y + yStride, secondVector, a01, a11);
        Store<TVector, TLanes>(y + (2 * yStride), secondVector, a02, a12);
        Store<TVector, TLanes>(y + (3 * yStride), secondVector, a03, a13);
        Store<TVector, TLanes>(y + (4 * yStride), secondVector, a04, a14);
        Store<TVector, TLanes>(y + (sixth * yStride), secondVector, a05, a15);
        Store<TVector, TLanes>(y + (seventh * yStride), secondVector, a06, a16);
        Store<TVector, TLanes>(y + (eighth * yStride), secondVector, a07, a17);
    }

    /// <summary>Two vectors of outputs for one to four tokens; see <see cref="Run"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Run2x4<TVector, TLanes, TElement>(
        byte* w0, byte* w1, nint strideBytes, float* x, nint xStride, int tokenCount, int depth, float* y, nint yStride, nint secondVector, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TElement : IFloatElement
    {
        nint second = tokenCount > 1 ? 1 : 0, third = tokenCount > 2 ? 2 : 0, fourth = tokenCount > 3 ? 3 : 0;
        float* x1 = x + (second * xStride), x2 = x + (third * xStride), x3 = x + (fourth * xStride);
        float* y1 = y + (second * yStride), y2 = y + (third * yStride), y3 = y + (fourth * yStride);
        TVector a00 = TLanes.Zero, a01 = a00, a02 = a00, a03 = a00, a10 = a00, a11 = a00, a12 = a00, a13 = a00;
        if (accumulate)
        {
            (a00, a10) = (TLanes.Load(y), TLanes.Load(y + secondVector));
            (a01, a11) = (TLanes.Load(y1), TLanes.Load(y1 + secondVector));
            (a02, a12) = (TLanes.Load(y2), TLanes.Load(y2 + secondVector));
            (a03, a13) = (TLanes.Load(y3), TLanes.Load(y3 + secondVector));
        }

        for (nint k = 0; k < depth; k++)
        {
            TVector v0 = TElement.Load<TVector, TLanes>(w0), v1 = TElement.Load<TVector, TLanes>(w1);
            w0 += strideBytes;
            w1 += strideBytes;
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

        Store<TVector, TLanes>(y, secondVector, a00, a10);
        Store<TVector, TLanes>(y1, secondVector, a01, a11);
        Store<TVector, TLanes>(y2, secondVector, a02, a12);
        Store<TVector, TLanes>(y3, secondVector, a03, a13);
    }

    /// <summary>Four vectors of outputs for one token: enough chains to hide the latency of a multiply-add.</summary>
    /// <param name="w0">Lanes of the first vector at k = 0; the others are further vectors.</param>
    /// <param name="w1">Second vector.</param>
    /// <param name="w2">Third vector.</param>
    /// <param name="w3">Fourth vector.</param>
    /// <param name="strideBytes">From k to k + 1.</param>
    /// <param name="x">Activations, <c>[depth]</c>.</param>
    /// <param name="depth">Terms of each sum.</param>
    /// <param name="y0">Output of the first vector; the others are further vectors.</param>
    /// <param name="y1">Second output.</param>
    /// <param name="y2">Third output.</param>
    /// <param name="y3">Fourth output.</param>
    /// <param name="accumulate">Whether sums start from what the outputs hold.</param>
    /// <param name="stream">Whether the weights come from memory for the first time: changes no result.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Run4x1<TVector, TLanes, TElement>(
        byte* w0, byte* w1, byte* w2, byte* w3, nint strideBytes, float* x, int depth, float* y0, float* y1, float* y2, float* y3, bool accumulate, bool stream)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TElement : IFloatElement
    {
        TVector a0 = TLanes.Zero, a1 = a0, a2 = a0, a3 = a0;
        if (accumulate)
        {
            (a0, a1, a2, a3) = (TLanes.Load(y0), TLanes.Load(y1), TLanes.Load(y2), TLanes.Load(y3));
        }

        nint offset = 0;
        for (nint k = 0; k < depth; k++)
        {
            if (stream)
            {
                Prefetch.Ahead(w0 + offset, 1);
                Prefetch.Ahead(w1 + offset, 1);
                Prefetch.Ahead(w2 + offset, 1);
                Prefetch.Ahead(w3 + offset, 1);
            }

            TVector b = TLanes.Broadcast(x[k]);
            a0 = TLanes.MultiplyAdd(TElement.Load<TVector, TLanes>(w0 + offset), b, a0);
            a1 = TLanes.MultiplyAdd(TElement.Load<TVector, TLanes>(w1 + offset), b, a1);
            a2 = TLanes.MultiplyAdd(TElement.Load<TVector, TLanes>(w2 + offset), b, a2);
            a3 = TLanes.MultiplyAdd(TElement.Load<TVector, TLanes>(w3 + offset), b, a3);
            offset += strideBytes;
        }

        TLanes.Store(a0, y0);
        TLanes.Store(a1, y1);
        TLanes.Store(a2, y2);
        TLanes.Store(a3, y3);
    }

    /// <summary>
    /// Two vectors of outputs for one token, streaming the weights; see <see cref="OneTokenVectors"/>. Meanwhile what follows is fetched: in each stream, and at its end <paramref name="skip"/> bytes
    /// further, where the next two begin.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Run2x1<TVector, TLanes, TElement>(byte* w0, byte* w1, nint strideBytes, float* x, int depth, float* y0, float* y1, nint skip)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TElement : IFloatElement
    {
        TVector a0 = TLanes.Zero, a1 = a0;
        nint offset = 0, lastOfStream = depth - (Prefetch.Distance / strideBytes);
        for (nint k = 0; k < depth; k++, offset += strideBytes)
        {
            nint ahead = offset + Prefetch.Distance + (k < lastOfStream ? 0 : skip);
            Prefetch.Line(w0 + ahead);
            Prefetch.Line(w1 + ahead);
            TVector b = TLanes.Broadcast(x[k]);
            a0 = TLanes.MultiplyAdd(TElement.Load<TVector, TLanes>(w0 + offset), b, a0);
            a1 = TLanes.MultiplyAdd(TElement.Load<TVector, TLanes>(w1 + offset), b, a1);
        }

        TLanes.Store(a0, y0);
        TLanes.Store(a1, y1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TVector, TLanes>(float* y, nint secondVector, TVector first, TVector second)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        TLanes.Store(first, y);
        TLanes.Store(second, y + secondVector);
    }
}
