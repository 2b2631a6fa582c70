using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;
using E2LLM.Kernels.MatMul;

namespace E2LLM.Kernels.Attention;

/// <summary>
/// One step of online softmax attention (Milakov and Gimelshein 2018; Rabe and Staats 2021): folds a block of 64 positions into the running maximum, sum and output of
/// some query rows: <c>s = q K; m' = max(m, max s); p = exp(s - m'); l = l exp(m - m') + sum p; o = o exp(m - m') + p V; m = m'</c>.
/// </summary>
/// <remarks>
/// Shapes: queries <c>[tokens * heads][headDim]</c>, already scaled, all heads of one token together; keys <c>[headDim][64]</c>; values <c>[64][valueStride]</c>; scores a
/// scratch <c>[tokens * heads][64]</c>; m and l <c>[tokens * heads]</c>; o <c>[tokens * heads][valueStride]</c>. Nothing overlaps. Token t sees the first
/// <c>min(64, firstCount + t)</c> positions; what lies behind is never multiplied, so it may be anything. Numerics: a score sums over headDim ascending,
/// an output over positions ascending; a row's bits depend on nothing but its own inputs and the width.
/// </remarks>
internal static unsafe class AttentionBlock
{
    /// <summary>Positions in a block.</summary>
    internal const int Positions = 64;

    /// <summary>Folds one block in, at the widest width the machine has.</summary>
    internal static void Fold(in AttentionRows rows, float* keys, float* values, int firstCount)
    {
        if (Vector512.IsHardwareAccelerated)
        {
            Fold<Vector512<float>, FloatLanes512>(rows, keys, values, firstCount);
        }
        else if (Vector256.IsHardwareAccelerated)
        {
            Fold<Vector256<float>, FloatLanes256>(rows, keys, values, firstCount);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            Fold<Vector128<float>, FloatLanes128>(rows, keys, values, firstCount);
        }
        else
        {
            Fold<float, FloatLanesScalar>(rows, keys, values, firstCount);
        }
    }

    /// <summary>The same at a width of the caller's choice: for tests.</summary>
    internal static void Fold<TVector, TLanes>(in AttentionRows rows, float* keys, float* values, int firstCount)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        int count = rows.Tokens * rows.Heads, most = Math.Min(Positions, firstCount + rows.Tokens - 1);
        Multiply<TVector, TLanes>(keys, Positions, most, rows.Queries, rows.HeadDim, rows.HeadDim, rows.Scores, Positions, count, false);
        for (int row = 0; row < count; row++)
        {
            int seen = Math.Min(Positions, firstCount + (row / rows.Heads));
            Normalise<TVector, TLanes>(rows, row, seen);
        }

        // All rows share the positions that the first token sees; later tokens see a few more.
        Multiply<TVector, TLanes>(
            values, rows.ValueStride, rows.ValueStride, rows.Scores, Positions, Math.Min(Positions, firstCount), rows.Outputs, rows.ValueStride, count, true);
        for (int token = 1; token < rows.Tokens && firstCount < Positions; token++)
        {
            int further = Math.Min(Positions, firstCount + token) - firstCount;
            Multiply<TVector, TLanes>(
                values + ((nint)firstCount * rows.ValueStride), rows.ValueStride, rows.ValueStride, rows.Scores + ((nint)token * rows.Heads * Positions) + firstCount, Positions,
                further, rows.Outputs + ((nint)token * rows.Heads * rows.ValueStride), rows.ValueStride, rows.Heads, true);
        }
    }

    /// <summary><c>y[row][0 .. width) (+)= sum over k of x[row][k] * w[k][0 .. width)</c>; whole vectors are written.</summary>
    private static void Multiply<TVector, TLanes>(
        float* w, int wStride, int width, float* x, nint xStride, int depth, float* y, nint yStride, int rowCount, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        for (int row = 0; row < rowCount; row += FloatTile.Tokens<TVector, TLanes>())
        {
            int tile = Math.Min(FloatTile.Tokens<TVector, TLanes>(), rowCount - row);
            for (int lane = 0; lane < width; lane += 2 * TLanes.Count)
            {
                int second = lane + TLanes.Count < width ? TLanes.Count : 0;
                FloatTile.Run<TVector, TLanes, SingleElement>(
                    (byte*)(w + lane), (byte*)(w + lane + second), wStride * sizeof(float), x + (row * xStride), xStride, tile, depth,
                    y + (row * yStride) + lane, yStride, second, accumulate);
            }
        }
    }

    /// <summary>Turns one row's scores into weights and rescales what the row has so far.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Normalise<TVector, TLanes>(in AttentionRows rows, int row, int seen)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        float* scores = rows.Scores + ((nint)row * Positions), output = rows.Outputs + ((nint)row * rows.ValueStride);
        for (int i = seen; i < Positions; i++)
        {
            scores[i] = float.NegativeInfinity;
        }

        TVector largest = TLanes.Load(scores);
        for (int i = TLanes.Count; i < Positions; i += TLanes.Count)
        {
            largest = TLanes.Max(largest, TLanes.Load(scores + i));
        }

        float before = rows.Maxima[row], maximum = MathF.Max(before, TLanes.MaxAcross(largest));
        TVector shift = TLanes.Broadcast(maximum), sums = TLanes.Zero;
        for (int i = 0; i < Positions; i += TLanes.Count)
        {
            TVector p = Exponential.Run<TVector, TLanes>(TLanes.Subtract(TLanes.Load(scores + i), shift));
            TLanes.Store(p, scores + i);
            sums = TLanes.Add(sums, p);
        }

        rows.Maxima[row] = maximum;
        float sum = TLanes.SumAcross(sums);
        if (before == maximum)
        {
            // What there is needs no rescaling: exp(0) is 1.
            rows.Sums[row] += sum;
            return;
        }

        float keep = MathF.Exp(before - maximum);
        rows.Sums[row] = (rows.Sums[row] * keep) + sum;
        TVector factor = TLanes.Broadcast(keep);
        for (int i = 0; i < rows.ValueStride; i += TLanes.Count)
        {
            TLanes.Store(TLanes.Multiply(TLanes.Load(output + i), factor), output + i);
        }
    }
}
