using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;
using E2LLM.Kernels.MatMul;

namespace E2LLM.Kernels.Attention;

/// <summary>
/// <see cref="AttentionBlock"/> for the rows of a single token on a block stored as binary16, widened in registers instead of in a scratch: a block that is used by few rows is not worth writing down.
/// </summary>
/// <remarks>
/// Shapes: rows of one token; keys <c>[headDim][64]</c> and values <c>[64][valueStride]</c> as stored. Numerics: the same bits as <see cref="DecodeKv"/> followed by <see cref="AttentionBlock"/>.
/// </remarks>
internal static unsafe class HalfAttentionBlock
{
    private const int Positions = AttentionBlock.Positions;

    /// <summary>Folds one block in at the widest width the machine has.</summary>
    /// <param name="rows">Rows of one token.</param>
    /// <param name="keys">Stored keys.</param>
    /// <param name="values">Stored values.</param>
    /// <param name="count">Positions that the token sees, 1 or more.</param>
    /// <param name="nextKeys">The keys that will be read after this block: they are fetched while these are read.</param>
    /// <param name="nextValues">The values that will be read then, likewise.</param>
    internal static void Fold(in AttentionRows rows, ushort* keys, ushort* values, int count, byte* nextKeys, byte* nextValues)
    {
        if (Vector512.IsHardwareAccelerated)
        {
            Fold<Vector512<float>, FloatLanes512>(rows, keys, values, count, nextKeys, nextValues);
        }
        else if (Vector256.IsHardwareAccelerated)
        {
            Fold<Vector256<float>, FloatLanes256>(rows, keys, values, count, nextKeys, nextValues);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            Fold<Vector128<float>, FloatLanes128>(rows, keys, values, count, nextKeys, nextValues);
        }
        else
        {
            Fold<float, FloatLanesScalar>(rows, keys, values, count, nextKeys, nextValues);
        }
    }

    /// <summary>The same at a width of the caller's choice: for tests.</summary>
    internal static void Fold<TVector, TLanes>(in AttentionRows rows, ushort* keys, ushort* values, int count, byte* nextKeys, byte* nextValues)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        int seen = Math.Min(Positions, count);
        Multiply<TVector, TLanes>(keys, Positions, seen, (nint)nextKeys - (nint)keys, rows.Queries, rows.HeadDim, rows.HeadDim, rows.Scores, Positions, rows.Heads, false);
        for (int row = 0; row < rows.Heads; row++)
        {
            AttentionBlock.Normalise<TVector, TLanes>(rows, row, seen);
        }

        Multiply<TVector, TLanes>(
            values, rows.ValueStride, rows.ValueStride, (nint)nextValues - (nint)values, rows.Scores, Positions, seen, rows.Outputs, rows.ValueStride, rows.Heads, true);
    }

    /// <summary><c>y[row][0 .. width) (+)= sum over k of x[row][k] * w[k][0 .. width)</c>; whole vectors are written, four at a time where there are four.</summary>
    private static void Multiply<TVector, TLanes>(
        ushort* w, int stride, int width, nint ahead, float* x, nint xStride, int depth, float* y, nint yStride, int rowCount, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        int tile = HalfPairTile.Rows<TVector, TLanes>();
        for (int row = 0; row < rowCount; row += tile, ahead = 0)
        {
            int rows = Math.Min(tile, rowCount - row);
            for (int lane = 0; lane < width;)
            {
                float* factors = x + (row * xStride), target = y + (row * yStride) + lane;
                int vectors = Math.Min(HalfPairTile.Vectors, (stride - lane) / TLanes.Count);
                if (vectors != HalfPairTile.Vectors || !HalfPairTile.TryRun<TVector, TLanes>((uint*)(w + lane), stride / 2, ahead, factors, xStride, rows, depth, target, yStride, accumulate))
                {
                    Widened<TVector, TLanes>(w + lane, vectors, stride, factors, xStride, rows, depth, target, yStride, accumulate);
                }

                lane += vectors * TLanes.Count;
            }
        }
    }

    // Infinities or NaN, or a last vector or two: each vector is widened by all the steps that this takes.
    private static void Widened<TVector, TLanes>(
        ushort* w, int vectors, int stride, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        for (int vector = 0; vector < vectors; vector += 2)
        {
            int second = vector + 1 < vectors ? TLanes.Count : 0;
            ushort* first = w + (vector * TLanes.Count);
            FloatTile.Run<TVector, TLanes, HalfElement>(
                (byte*)first, (byte*)(first + second), stride * sizeof(ushort), x, xStride, rowCount, depth, y + (vector * TLanes.Count), yStride, second, accumulate);
        }
    }
}
