using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Q4_K: d, dMin, 12 bytes of 6-bit scales and minima, then for each 64 columns 32 bytes: the first 32 columns in the low nibbles.
/// Source: block_q4_K of ggml-common.h.
/// </summary>
internal readonly unsafe struct Q4_KFormat : ISuperBlockFormat<Bits4>
{
    private const int QuantsOffset = 16;

    public static int Bias => 0;

    public static bool HasMinima => true;

    public static int ScalesPerSubBlock => 1;

    public static void Decode(byte* stored, byte* values, sbyte* scales, byte* minima, ushort* factors)
    {
        SixBitScales.DecodeHead(stored, scales, minima, factors);
        SixBitScales.DecodeNibbles(stored + QuantsOffset, values);
    }

    public static void Encode(byte* values, sbyte* scales, byte* minima, ushort* factors, byte* stored)
    {
        SixBitScales.EncodeHead(scales, minima, factors, stored);
        SixBitScales.EncodeNibbles(values, stored + QuantsOffset);
    }
}

/// <summary>
/// Q5_K: as Q4_K, with 32 bytes of fifth bits before the nibbles: bit s of byte i is column 32 s + i's. Source: block_q5_K of ggml-common.h.
/// </summary>
internal readonly unsafe struct Q5_KFormat : ISuperBlockFormat<Bits5>
{
    private const int FifthsOffset = 16;
    private const int QuantsOffset = FifthsOffset + 32;

    public static int Bias => 0;

    public static bool HasMinima => true;

    public static int ScalesPerSubBlock => 1;

    public static void Decode(byte* stored, byte* values, sbyte* scales, byte* minima, ushort* factors)
    {
        SixBitScales.DecodeHead(stored, scales, minima, factors);
        SixBitScales.DecodeNibbles(stored + QuantsOffset, values);
        Vector256<byte> fifths = Vector256.Load(stored + FifthsOffset);
        for (int sub = 0; sub < 8; sub++, values += 32)
        {
            (Vector256.Load(values) | (((fifths >> sub) & Vector256<byte>.One) << 4)).Store(values);
        }
    }

    public static void Encode(byte* values, sbyte* scales, byte* minima, ushort* factors, byte* stored)
    {
        SixBitScales.EncodeHead(scales, minima, factors, stored);
        SixBitScales.EncodeNibbles(values, stored + QuantsOffset);
        new Span<byte>(stored + FifthsOffset, 32).Clear();
        for (int column = 0; column < 256; column++)
        {
            stored[FifthsOffset + (column % 32)] |= (byte)((values[column] >> 4) << (column / 32));
        }
    }
}

/// <summary>
/// Q6_K: for each 128 columns 64 bytes of nibbles and 32 bytes of two-bit tops, then 16 signed scales and d. Source: block_q6_K of ggml-common.h.
/// </summary>
internal readonly unsafe struct Q6_KFormat : ISuperBlockFormat<Bits6>
{
    private const int TopsOffset = 128;
    private const int ScalesOffset = TopsOffset + 64;
    private const int FactorOffset = ScalesOffset + 16;

    public static int Bias => 32;

    public static bool HasMinima => false;

    public static int ScalesPerSubBlock => 2;

    public static void Decode(byte* stored, byte* values, sbyte* scales, byte* minima, ushort* factors)
    {
        Vector256<byte> nibble = Vector256.Create((byte)0x0F), top = Vector256.Create((byte)0x30);
        for (int half = 0; half < 2; half++, values += 128)
        {
            // See Place: what Encode does column by column.
            Vector256<byte> first = Vector256.Load(stored + (half * 64)), second = Vector256.Load(stored + (half * 64) + 32), tops = Vector256.Load(stored + TopsOffset + (half * 32));
            ((first & nibble) | ((tops << 4) & top)).Store(values);
            ((second & nibble) | ((tops << 2) & top)).Store(values + 32);
            ((first >> 4) | (tops & top)).Store(values + 64);
            ((second >> 4) | ((tops >> 2) & top)).Store(values + 96);
        }

        new ReadOnlySpan<sbyte>(stored + ScalesOffset, 16).CopyTo(new Span<sbyte>(scales, 16));
        factors[0] = *(ushort*)(stored + FactorOffset);
    }

    public static void Encode(byte* values, sbyte* scales, byte* minima, ushort* factors, byte* stored)
    {
        new Span<byte>(stored, ScalesOffset).Clear();
        for (int column = 0; column < 256; column++)
        {
            (int nibble, int nibbleShift, int top, int topShift) = Place(column);
            stored[nibble] |= (byte)((values[column] & 0x0F) << nibbleShift);
            stored[top] |= (byte)((values[column] >> 4) << topShift);
        }

        new ReadOnlySpan<sbyte>(scales, 16).CopyTo(new Span<sbyte>(stored + ScalesOffset, 16));
        *(ushort*)(stored + FactorOffset) = factors[0];
    }

    // Of each 128 columns: 0-31 and 32-63 are the low nibbles of the two runs of 32 bytes, 64-95 and 96-127 the high ones; the tops of
    // all four are bits 0-1, 2-3, 4-5 and 6-7 of the same byte.
    private static (int Nibble, int NibbleShift, int Top, int TopShift) Place(int column)
    {
        int half = column / 128, quarter = column % 128 / 32, i = column % 32;
        return ((half * 64) + (quarter % 2 * 32) + i, quarter < 2 ? 0 : 4, TopsOffset + (half * 32) + i, quarter * 2);
    }
}

/// <summary>What Q4_K and Q5_K share: factors, packed 6-bit scales and minima, and nibbles.</summary>
internal static unsafe class SixBitScales
{
    private const int PackedOffset = 4;

    // Twelve bytes: scales 0-3 and minima 0-3 in the low six bits of bytes 0-3 and 4-7; scales and minima 4-7 with their low nibbles in
    // bytes 8-11 (scale low, minimum high) and their top two bits above those six.
    internal static void DecodeHead(byte* stored, sbyte* scales, byte* minima, ushort* factors)
    {
        factors[0] = ((ushort*)stored)[0];
        factors[1] = ((ushort*)stored)[1];
        byte* packed = stored + PackedOffset;
        for (int i = 0; i < 4; i++)
        {
            scales[i] = (sbyte)(packed[i] & 63);
            minima[i] = (byte)(packed[i + 4] & 63);
            scales[i + 4] = (sbyte)((packed[i + 8] & 0x0F) | ((packed[i] >> 6) << 4));
            minima[i + 4] = (byte)((packed[i + 8] >> 4) | ((packed[i + 4] >> 6) << 4));
        }
    }

    internal static void EncodeHead(sbyte* scales, byte* minima, ushort* factors, byte* stored)
    {
        ((ushort*)stored)[0] = factors[0];
        ((ushort*)stored)[1] = factors[1];
        byte* packed = stored + PackedOffset;
        for (int i = 0; i < 4; i++)
        {
            packed[i] = (byte)((byte)scales[i] | (((byte)scales[i + 4] >> 4) << 6));
            packed[i + 4] = (byte)(minima[i] | ((minima[i + 4] >> 4) << 6));
            packed[i + 8] = (byte)(((byte)scales[i + 4] & 0x0F) | ((minima[i + 4] & 0x0F) << 4));
        }
    }

    internal static void DecodeNibbles(byte* stored, byte* values)
    {
        for (int pair = 0; pair < 4; pair++, stored += 32, values += 64)
        {
            Vector256<byte> both = Vector256.Load(stored);
            (both & Vector256.Create((byte)0x0F)).Store(values);
            (both >> 4).Store(values + 32);
        }
    }

    internal static void EncodeNibbles(byte* values, byte* stored)
    {
        for (int pair = 0; pair < 4; pair++, stored += 32, values += 64)
        {
            for (int i = 0; i < 32; i++)
            {
                stored[i] = (byte)((values[i] & 0x0F) | ((values[i + 32] & 0x0F) << 4));
            }
        }
    }
}
