using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

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

    /// <summary>Folds one block in at the widest width the machine has; false, and nothing done, where the block must be widened in a scratch: it holds infinities or NaN, or the head fills no whole vectors.</summary>
    /// <param name="rows">Rows of one token.</param>
    /// <param name="keys">Stored keys.</param>
    /// <param name="values">Stored values.</param>
    /// <param name="count">Positions that the token sees, 1 or more.</param>
    /// <param name="next">The keys that will be read after this block: they are fetched meanwhile. Null for none.</param>
    internal static bool TryFold(in AttentionRows rows, ushort* keys, ushort* values, int count, byte* next)
    {
        if (Vector512.IsHardwareAccelerated)
        {
            return TryFold<Vector512<float>, FloatLanes512>(rows, keys, values, count, next);
        }

        if (Vector256.IsHardwareAccelerated)
        {
            return TryFold<Vector256<float>, FloatLanes256>(rows, keys, values, count, next);
        }

        return Vector128.IsHardwareAccelerated
            ? TryFold<Vector128<float>, FloatLanes128>(rows, keys, values, count, next)
            : TryFold<float, FloatLanesScalar>(rows, keys, values, count, next);
    }

    /// <summary>The same at a width of the caller's choice: for tests.</summary>
    internal static bool TryFold<TVector, TLanes>(in AttentionRows rows, ushort* keys, ushort* values, int count, byte* next)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        int seen = Math.Min(Positions, count), words = rows.ValueStride / 2;
        if (words % TLanes.Count != 0 || !AreFinite(keys, (nint)rows.HeadDim * Positions))
        {
            return false;
        }

        // Only scores are written so far, which are a scratch; the values are looked at when they have been fetched.
        Multiply<TVector, TLanes>((uint*)keys, Positions / 2, seen, (nint)values - (nint)keys, rows.Queries, rows.HeadDim, rows.HeadDim, rows.Scores, Positions, rows.Heads, false);
        if (!AreFinite(values, (nint)seen * rows.ValueStride))
        {
            return false;
        }

        for (int row = 0; row < rows.Heads; row++)
        {
            AttentionBlock.Normalise<TVector, TLanes>(rows, row, seen);
        }

        nint ahead = next is null ? 0 : (nint)next - (nint)values;
        Multiply<TVector, TLanes>((uint*)values, words, rows.ValueStride, ahead, rows.Scores, Positions, seen, rows.Outputs, rows.ValueStride, rows.Heads, true);
        return true;
    }

    /// <summary><c>y[row][0 .. width) (+)= sum over k of x[row][k] * w[k][0 .. width)</c>; whole pairs of vectors are written.</summary>
    private static void Multiply<TVector, TLanes>(
        uint* w, int stride, int width, nint ahead, float* x, nint xStride, int depth, float* y, nint yStride, int rowCount, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        int lanes = TLanes.Count, tile = HalfPairTile.Rows<TVector, TLanes>();
        for (int row = 0; row < rowCount; row += tile, ahead = 0)
        {
            for (int word = 0; 2 * word < width; word += 2 * lanes)
            {
                int second = word + lanes < stride ? lanes : 0;
                HalfPairTile.Run<TVector, TLanes>(
                    w + word, w + word + second, stride, ahead, x + (row * xStride), xStride, Math.Min(tile, rowCount - row), depth, y + (row * yStride) + (2 * word), yStride, 2 * second, accumulate);
            }
        }
    }

    /// <summary>Whether no element is infinite or NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static bool AreFinite(ushort* halves, nint count)
    {
        // As signed numbers the positive infinity and NaN are the largest, as unsigned ones the negative.
        Vector512<ushort> largest = Vector512<ushort>.Zero, other = largest;
        Vector512<short> largestSigned = Vector512.Create(short.MinValue), otherSigned = largestSigned;
        nint i = 0;
        for (; i <= count - (2 * Vector512<ushort>.Count); i += 2 * Vector512<ushort>.Count)
        {
            Vector512<ushort> first = Vector512.Load(halves + i), second = Vector512.Load(halves + i + Vector512<ushort>.Count);
            largest = Vector512.Max(largest, first);
            largestSigned = Vector512.Max(largestSigned, first.AsInt16());
            other = Vector512.Max(other, second);
            otherSigned = Vector512.Max(otherSigned, second.AsInt16());
        }

        bool special = Vector512.GreaterThanOrEqualAny(Vector512.Max(largest, other), Vector512.Create((ushort)0xFC00))
            || Vector512.GreaterThanOrEqualAny(Vector512.Max(largestSigned, otherSigned), Vector512.Create((short)0x7C00));
        for (; i < count; i++)
        {
            special |= (halves[i] & 0x7C00) == 0x7C00;
        }

        return !special;
    }
}
