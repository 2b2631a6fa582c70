using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>Q8_0: signed bytes; packed with their top bit flipped, which adds 128.</summary>
internal readonly unsafe struct Q8_0Format : IQuantizedFormat<Bits8>
{
    public static int Bias => 128;

    public static bool HasMinimum => false;

    public static void Decode(byte* stored, byte* values) => Flip(stored, values);

    public static void Encode(byte* values, byte* stored) => Flip(values, stored);

    private static void Flip(byte* source, byte* target)
    {
        for (int i = 0; i < 4; i++)
        {
            ((ulong*)target)[i] = ((ulong*)source)[i] ^ 0x8080_8080_8080_8080ul;
        }
    }
}

/// <summary>Q4_0: 16 bytes, column c in the low nibble of byte c, column c + 16 in its high nibble; 8 is zero.</summary>
internal readonly unsafe struct Q4_0Format : IQuantizedFormat<Bits4>
{
    public static int Bias => 8;

    public static bool HasMinimum => false;

    public static void Decode(byte* stored, byte* values) => StoredNibbles.Decode(stored, values);

    public static void Encode(byte* values, byte* stored) => StoredNibbles.Encode(values, stored);
}

/// <summary>Q4_1: nibbles as in Q4_0, above a minimum.</summary>
internal readonly unsafe struct Q4_1Format : IQuantizedFormat<Bits4>
{
    public static int Bias => 0;

    public static bool HasMinimum => true;

    public static void Decode(byte* stored, byte* values) => StoredNibbles.Decode(stored, values);

    public static void Encode(byte* values, byte* stored) => StoredNibbles.Encode(values, stored);
}

/// <summary>Q5_0: 32 fifth bits (bit c of a little-endian word is column c's), then nibbles as in Q4_0; 16 is zero.</summary>
internal readonly unsafe struct Q5_0Format : IQuantizedFormat<Bits5>
{
    public static int Bias => 16;

    public static bool HasMinimum => false;

    public static void Decode(byte* stored, byte* values) => StoredNibbles.DecodeWithFifth(stored, values);

    public static void Encode(byte* values, byte* stored) => StoredNibbles.EncodeWithFifth(values, stored);
}

/// <summary>Q5_1: bits as in Q5_0, above a minimum.</summary>
internal readonly unsafe struct Q5_1Format : IQuantizedFormat<Bits5>
{
    public static int Bias => 0;

    public static bool HasMinimum => true;

    public static void Decode(byte* stored, byte* values) => StoredNibbles.DecodeWithFifth(stored, values);

    public static void Encode(byte* values, byte* stored) => StoredNibbles.EncodeWithFifth(values, stored);
}

/// <summary>The nibbles that the stored 4-bit and 5-bit blocks share.</summary>
internal static unsafe class StoredNibbles
{
    private const int FifthBytes = 4;

    internal static void Decode(byte* stored, byte* values)
    {
        Vector128<byte> both = Vector128.Load(stored);
        (both & Vector128.Create((byte)0x0F)).Store(values);
        (both >> 4).Store(values + 16);
    }

    internal static void Encode(byte* values, byte* stored)
    {
        for (int i = 0; i < 16; i++)
        {
            stored[i] = (byte)((values[i] & 0x0F) | ((values[i + 16] & 0x0F) << 4));
        }
    }

    internal static void DecodeWithFifth(byte* stored, byte* values)
    {
        uint fifths = *(uint*)stored;
        Decode(stored + FifthBytes, values);
        for (int i = 0; i < 32; i++)
        {
            values[i] |= (byte)(((fifths >> i) & 1) << 4);
        }
    }

    internal static void EncodeWithFifth(byte* values, byte* stored)
    {
        uint fifths = 0;
        for (int i = 0; i < 32; i++)
        {
            fifths |= (uint)(values[i] >> 4) << i;
        }

        *(uint*)stored = fifths;
        Encode(values, stored + FifthBytes);
    }
}
