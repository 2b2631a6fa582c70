using System.Runtime.CompilerServices;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Attention;

/// <summary>
/// Products of a few rows with a stored matrix whose elements become floats in registers: <c>y[row][i] (+)= sum over k ascending of w[k][i] * x[row][k]</c>.
/// </summary>
/// <remarks>
/// Shapes: w <c>[depth][strideBytes]</c>, one or two pairs of each row taken; x <c>[rows][xStride]</c>; y <c>[rows][yStride]</c>, two vectors of each row for a pair. Nothing overlaps. Numerics: as
/// <see cref="MatMul.FloatTile"/> on the decoded matrix, bit for bit; infinities and NaN of binary16 are noticed and left to it. A missing row or pair is a copy of the first.
/// </remarks>
internal static unsafe partial class StoredTile
{
    // The bias that LoadLowHalves leaves out.
    private const float Bias = 5.192296858534828e33f; // 2^112

    /// <summary>Rows that <see cref="TryRun"/> takes at most: what the registers hold.</summary>
    internal static int Rows<TVector, TLanes>()
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.Count == 16 ? 8 : 4;

    /// <summary>Pairs that <see cref="TryRun"/> takes at most of so many rows.</summary>
    internal static int Pairs<TVector, TLanes>(int rowCount)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => rowCount > (TLanes.Count == 16 ? 4 : 2) ? 1 : 2;

    /// <summary>Runs the product for up to <see cref="Rows"/> rows; false, and nothing written, where an element is an infinite or no number that the pair does not know.</summary>
    /// <param name="w">The matrix from the first column of the first pair on.</param>
    /// <param name="secondScales">Scales from the first pair's to the second's.</param>
    /// <param name="pairs">1 to <see cref="Pairs"/>.</param>
    /// <param name="x">Factors of the first row.</param>
    /// <param name="xStride">Elements from row to row.</param>
    /// <param name="rowCount">1 or more.</param>
    /// <param name="depth">Terms of each sum.</param>
    /// <param name="y">Output of the first row.</param>
    /// <param name="yStride">Elements from row to row.</param>
    /// <param name="accumulate">Whether sums start from what <paramref name="y"/> holds.</param>
    internal static bool TryRun<TVector, TLanes, TPair>(
        in StoredMatrix w, nint secondScales, int pairs, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TPair : IStoredPair => rowCount switch
        {
            <= 2 => Run2x2<TVector, TLanes, TPair>(w, secondScales, pairs, x, xStride, rowCount, depth, y, yStride, accumulate, Bias),
            <= 4 when TLanes.Count < 16 => Run1x4<TVector, TLanes, TPair>(w, x, xStride, rowCount, depth, y, yStride, accumulate, Bias),
            <= 4 => Run2x4<TVector, TLanes, TPair>(w, secondScales, pairs, x, xStride, rowCount, depth, y, yStride, accumulate, Bias),
            _ => Run1x8<TVector, TLanes, TPair>(w, x, xStride, rowCount, depth, y, yStride, accumulate, Bias),
        };

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool Run2x2<TVector, TLanes, TPair>(
        in StoredMatrix w, nint secondScales, int pairs, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, bool accumulate, float bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TPair : IStoredPair
    {
        nint second = pairs > 1 ? 2 * TLanes.Count : 0, stride = w.StrideBytes, ahead = w.Ahead, scaleStride = w.ScaleStride;
        byte* w0 = w.Data, w1 = w.Data + (second * TPair.Bytes);
        float* s0 = w.Scales, s1 = w.Scales + (pairs > 1 ? secondScales : 0);
        float* x1 = rowCount > 1 ? x + xStride : x, y1 = rowCount > 1 ? y + yStride : y;
        TVector e00 = TLanes.Zero, o00 = e00, e10 = e00, o10 = e00, e01 = e00, o01 = e00, e11 = e00, o11 = e00, noted = e00, s = TLanes.Broadcast(bias);
        if (accumulate)
        {
            (e00, o00, e10, o10) = (First<TVector, TLanes, TPair>(y), Second<TVector, TLanes, TPair>(y), First<TVector, TLanes, TPair>(y + second), Second<TVector, TLanes, TPair>(y + second));
            (e01, o01, e11, o11) = (First<TVector, TLanes, TPair>(y1), Second<TVector, TLanes, TPair>(y1), First<TVector, TLanes, TPair>(y1 + second), Second<TVector, TLanes, TPair>(y1 + second));
        }

        for (nint k = 0; k < depth; k++, w0 += stride, w1 += stride)
        {
            Fetch<TVector, TLanes, TPair>(w0 + ahead);
            Fetch<TVector, TLanes, TPair>(w1 + ahead);
            if (TPair.IsHalf)
            {
                noted = TLanes.LargestHalves(TLanes.LargestHalves(noted, (uint*)w0), (uint*)w1);
            }

            nint scale = TPair.ScaleRow(k) * scaleStride;
            TVector a = TLanes.Broadcast(x[k]), b = TLanes.Broadcast(x1[k]);
            TVector even = TPair.First<TVector, TLanes>(w0, s0 + scale, s), odd = TPair.Second<TVector, TLanes>(w0, s0 + scale, s);
            e00 = TLanes.MultiplyAdd(even, a, e00);
            o00 = TLanes.MultiplyAdd(odd, a, o00);
            e01 = TLanes.MultiplyAdd(even, b, e01);
            o01 = TLanes.MultiplyAdd(odd, b, o01);
            even = TPair.First<TVector, TLanes>(w1, s1 + scale, s);
            odd = TPair.Second<TVector, TLanes>(w1, s1 + scale, s);
            e10 = TLanes.MultiplyAdd(even, a, e10);
            o10 = TLanes.MultiplyAdd(odd, a, o10);
            e11 = TLanes.MultiplyAdd(even, b, e11);
            o11 = TLanes.MultiplyAdd(odd, b, o11);
        }

        if (TPair.IsHalf && TLanes.AnySpecialHalf(noted))
        {
            return false;
        }

        Store<TVector, TLanes, TPair>(e00, o00, y);
        Store<TVector, TLanes, TPair>(e10, o10, y + second);
        Store<TVector, TLanes, TPair>(e01, o01, y1);
        Store<TVector, TLanes, TPair>(e11, o11, y1 + second);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Fetch<TVector, TLanes, TPair>(byte* address)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TPair : IStoredPair
    {
        Prefetch.Line(address);
        if (2 * TLanes.Count * TPair.Bytes > 64)
        {
            Prefetch.Line(address + 64);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector First<TVector, TLanes, TPair>(float* outputs)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TPair : IStoredPair => TPair.InTurn ? TLanes.LoadEven(outputs) : TLanes.Load(outputs);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector Second<TVector, TLanes, TPair>(float* outputs)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TPair : IStoredPair => TPair.InTurn ? TLanes.LoadOdd(outputs) : TLanes.Load(outputs + TLanes.Count);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<TVector, TLanes, TPair>(TVector first, TVector second, float* outputs)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TPair : IStoredPair
    {
        if (TPair.InTurn)
        {
            TLanes.StoreInTurn(first, second, outputs);
            return;
        }

        TLanes.Store(first, outputs);
        TLanes.Store(second, outputs + TLanes.Count);
    }
}
