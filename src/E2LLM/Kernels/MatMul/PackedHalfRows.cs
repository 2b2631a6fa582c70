using System.Numerics;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// How rows of binary16 lie after loading: groups of 16 rows, each <c>[column / 2][16]</c> words of 32 bits, a word holding two neighbouring columns of one row, the first in its low half. A vector of
/// words is then two vectors of floats by shift and mask, without a shuffle. A trailer of 64 bytes says how the group is encoded.
/// </summary>
/// <remarks>
/// Almost every group is stored times 2^10 (<see cref="Encode"/>): numbers below 128 fit, and none of them is subnormal then, so widening needs no care (subnormal floats cost a hundred cycles on many
/// machines). A group with a larger number, an infinity or a NaN keeps its halves as they are, as <c>[column][16]</c>: exact too, but slower. Both give every stored half back bit for bit.
/// </remarks>
internal static unsafe class PackedHalfRows
{
    /// <summary>What a number that <see cref="Lanes.IFloatLanes{TVector}.LoadLowHalves"/> gives must be multiplied by: 112 of the exponents' biases less the 10 of the encoding.</summary>
    internal const float Scale = 5.070602400912918e30f; // 2^102

    private const int GroupRows = PackedFloatRows.GroupRows, TrailerBytes = 64;
    private const ushort Shift = 10 << 10, LargestNormal = 0x7FFF - Shift, MagnitudeBits = 0x7FFF, MantissaBits = 0x3FF;

    /// <summary>Bytes of one group.</summary>
    internal static long GroupBytes(int columns) => WordBytes(columns) + TrailerBytes;

    /// <summary>Whether a group's halves are stored as they are.</summary>
    internal static bool IsPlain(byte* group, int columns) => group[WordBytes(columns)] != 0;

    /// <summary>Packs one group into zeroed memory.</summary>
    /// <param name="rows">Stored rows, <paramref name="rowBytes"/> apart.</param>
    /// <param name="rowBytes">Bytes of a stored row.</param>
    /// <param name="rowCount">Rows present, 1 to 16; the rest becomes zero.</param>
    /// <param name="columns">Elements of a row.</param>
    /// <param name="packed">The group, <see cref="GroupBytes"/>; may not overlap <paramref name="rows"/>.</param>
    internal static void PackGroup(byte* rows, long rowBytes, int rowCount, int columns, byte* packed)
    {
        PackedFloatRows.Pack(rows, rowBytes, rowCount, columns / 2, (uint*)packed);
        for (int row = 0; columns % 2 == 1 && row < rowCount; row++)
        {
            ((uint*)packed)[((long)(columns / 2) * GroupRows) + row] = ((ushort*)(rows + (row * rowBytes)))[columns - 1];
        }

        if (!EncodeAll((ushort*)packed, WordBytes(columns) / sizeof(ushort)))
        {
            PackedFloatRows.Pack(rows, rowBytes, rowCount, columns, (ushort*)packed);
            packed[WordBytes(columns)] = 1;
        }
    }

    /// <summary>Copies one row of a group out again: the inverse of <see cref="PackGroup"/>.</summary>
    internal static void UnpackRow(byte* packed, int row, int columns, ushort* destination)
    {
        bool plain = IsPlain(packed, columns);
        for (int column = 0; column < columns; column++)
        {
            destination[column] = plain
                ? ((ushort*)packed)[((long)column * GroupRows) + row]
                : Decode(((ushort*)packed)[(((((long)column / 2) * GroupRows) + row) * 2) + (column % 2)]);
        }
    }

    /// <summary>A half below 128 as the half of its 2^10-fold, where the largest exponent is one like the others: never subnormal.</summary>
    internal static ushort Encode(ushort half)
    {
        int sign = half & ~MagnitudeBits, magnitude = half & MagnitudeBits;
        if (magnitude is 0 or > MantissaBits)
        {
            return (ushort)(sign | (magnitude == 0 ? 0 : magnitude + Shift));
        }

        // A subnormal m * 2^-24 whose highest bit is p: 1.xxx * 2^(p - 14), of which the exponent is written p + 1.
        int highest = BitOperations.Log2((uint)magnitude);
        return (ushort)(sign | ((highest + 1) << 10) | ((magnitude << (10 - highest)) & MantissaBits));
    }

    private static ushort Decode(ushort code)
    {
        int sign = code & ~MagnitudeBits, exponent = (code & MagnitudeBits) >> 10;
        return exponent switch
        {
            0 => code,
            <= 10 => (ushort)(sign | (((code & MantissaBits) | (MantissaBits + 1)) >> (11 - exponent))),
            _ => (ushort)(code - Shift),
        };
    }

    /// <summary>Encodes in place; false, and some of it done, where an element cannot be.</summary>
    private static bool EncodeAll(ushort* halves, long count)
    {
        // A group is a whole number of such vectors.
        for (long i = 0; i < count; i += Vector256<ushort>.Count)
        {
            Vector256<ushort> half = Vector256.Load(halves + i), magnitude = half & Vector256.Create(MagnitudeBits);
            if (Vector256.GreaterThanAny(magnitude, Vector256.Create(LargestNormal)))
            {
                return false;
            }

            Vector256<ushort> isZero = Vector256.Equals(magnitude, Vector256<ushort>.Zero);
            if (Vector256.LessThanOrEqual(magnitude, Vector256.Create(MantissaBits)) == isZero)
            {
                (half + Vector256.AndNot(Vector256.Create(Shift), isZero)).Store(halves + i);
                continue;
            }

            for (int lane = 0; lane < Vector256<ushort>.Count; lane++)
            {
                halves[i + lane] = Encode(halves[i + lane]);
            }
        }

        return true;
    }

    private static long WordBytes(int columns) => ((long)columns + 1) / 2 * GroupRows * sizeof(uint);
}
