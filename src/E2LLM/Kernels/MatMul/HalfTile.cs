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
}
