using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;
using E2LLM.Kernels.MatMul;
using E2LLM.Kernels.Quantization;

namespace E2LLM.Kernels.Attention;

/// <summary>
/// <see cref="AttentionBlock"/> for the rows of a single token on a block as it is stored, whose elements become floats in registers instead of in a scratch: a block that is used by few rows is not worth writing down.
/// </summary>
/// <remarks>
/// Shapes: rows of one token; the block as <see cref="StoredBlock"/> says; a scratch for scales <c>[2 * 64 * headDim / 32]</c>, used for Q8_0 only. Numerics: the same bits as <see cref="DecodeKv"/> followed by
/// <see cref="AttentionBlock"/>.
/// </remarks>
internal static unsafe class StoredAttentionBlock
{
    private const int Positions = AttentionBlock.Positions;

    /// <summary>Folds one block in at the widest width the machine has.</summary>
    /// <param name="rows">Rows of one token.</param>
    /// <param name="block">Stored keys and values.</param>
    /// <param name="scales">Scratch.</param>
    /// <param name="count">Positions that the token sees, 1 or more.</param>
    internal static void Fold(in AttentionRows rows, in StoredBlock block, float* scales, int count)
    {
        if (Vector512.IsHardwareAccelerated)
        {
            Fold<Vector512<float>, FloatLanes512>(rows, block, scales, count);
        }
        else if (Vector256.IsHardwareAccelerated)
        {
            Fold<Vector256<float>, FloatLanes256>(rows, block, scales, count);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            Fold<Vector128<float>, FloatLanes128>(rows, block, scales, count);
        }
        else
        {
            Fold<float, FloatLanesScalar>(rows, block, scales, count);
        }
    }

    /// <summary>The same at a width of the caller's choice: for tests.</summary>
    internal static void Fold<TVector, TLanes>(in AttentionRows rows, in StoredBlock block, float* scales, int count)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        switch (block.Type)
        {
            case KvElementType.F32:
                Fold<TVector, TLanes, SinglePair, SinglePair>(rows, block, scales, count);
                break;
            case KvElementType.F16:
                Fold<TVector, TLanes, HalfPair, HalfPair>(rows, block, scales, count);
                break;
            case KvElementType.BF16:
                Fold<TVector, TLanes, BFloat16Pair, BFloat16Pair>(rows, block, scales, count);
                break;
            default:
                WidenScales(rows, block, scales);
                Fold<TVector, TLanes, QuantizedKeyPair, QuantizedValuePair>(rows, block, scales, count);
                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Fold<TVector, TLanes, TKeys, TValues>(in AttentionRows rows, in StoredBlock block, float* scales, int count)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TKeys : IStoredPair
        where TValues : IStoredPair
    {
        int seen = Math.Min(Positions, count), groups = rows.HeadDim / ActivationBlock.Elements;
        var keys = new StoredMatrix(block.Keys, Positions * TKeys.Bytes, scales, Positions, block.Ahead);
        Multiply<TVector, TLanes, TKeys>(keys, Positions, seen, rows.Queries, rows.HeadDim, rows.HeadDim, rows.Scores, Positions, rows.Heads, false);
        for (int row = 0; row < rows.Heads; row++)
        {
            AttentionBlock.Normalise<TVector, TLanes>(rows, row, seen);
        }

        var values = new StoredMatrix(block.Values, rows.ValueStride * TValues.Bytes, scales + (groups * Positions), groups, block.Ahead);
        Multiply<TVector, TLanes, TValues>(values, rows.ValueStride, rows.ValueStride, rows.Scores, Positions, seen, rows.Outputs, rows.ValueStride, rows.Heads, true);
    }

    /// <summary><c>y[row][0 .. width) (+)= sum over k of x[row][k] * w[k][0 .. width)</c>; whole vectors are written, as many at a time as the tile takes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply<TVector, TLanes, TPair>(
        in StoredMatrix matrix, int columns, int width, float* x, nint xStride, int depth, float* y, nint yStride, int rowCount, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TPair : IStoredPair
    {
        int tile = StoredTile.Rows<TVector, TLanes>(), pair = 2 * TLanes.Count;
        for (int row = 0; row < rowCount; row += tile)
        {
            int rows = Math.Min(tile, rowCount - row);
            StoredMatrix block = row == 0 ? matrix : matrix.AtHand();
            for (int lane = 0, taken; lane < width; lane += taken)
            {
                float* factors = x + (row * xStride), target = y + (row * yStride) + lane;
                int pairs = Math.Min(StoredTile.Pairs<TVector, TLanes>(rows), Math.Min((width - lane + pair - 1) / pair, (columns - lane) / pair));
                nint scale = TPair.ScaleOf(lane);
                StoredMatrix w = block.From(lane * TPair.Bytes, scale);
                taken = pairs == 0 ? TLanes.Count : pairs * pair;
                if (pairs == 0 || !StoredTile.TryRun<TVector, TLanes, TPair>(w, TPair.ScaleOf(lane + pair) - scale, pairs, factors, xStride, rows, depth, target, yStride, accumulate))
                {
                    Plain<TVector, TLanes, TPair>(w, taken, factors, xStride, rows, depth, target, yStride, accumulate);
                }
            }
        }
    }

    // Infinities or NaN of binary16, or a last vector: by all the steps that this takes.
    private static void Plain<TVector, TLanes, TPair>(in StoredMatrix w, int width, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TPair : IStoredPair
    {
        for (int lane = 0; lane < width; lane += 2 * TLanes.Count)
        {
            int second = lane + TLanes.Count < width ? TLanes.Count : 0;
            byte* first = w.Data + (lane * TPair.Bytes);
            TPair.RunPlain<TVector, TLanes>(
                first, first + (second * TPair.Bytes), w.StrideBytes, x, xStride, rowCount, depth, y + lane, yStride, second, accumulate);
        }
    }

    private static void WidenScales(in AttentionRows rows, in StoredBlock block, float* scales)
    {
        int count = rows.HeadDim / ActivationBlock.Elements * Positions;
        ToSingle.Run(KvElementType.F16, (byte*)block.KeyScales, count, scales, (byte*)block.KeyScales + block.Ahead);
        ToSingle.Run(KvElementType.F16, (byte*)block.ValueScales, count, scales + count, (byte*)block.ValueScales + block.Ahead);
    }
}
