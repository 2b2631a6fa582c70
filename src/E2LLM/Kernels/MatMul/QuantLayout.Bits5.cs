using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Nibbles as in <see cref="Bits4"/>, then one line with the fifth bits: bit i of byte b belongs to column 4 i + b.
/// </summary>
internal readonly unsafe struct Bits5 : IQuantLayout
{
    public static int QuantBytes => 320;

    public static int MaxQuant => 31;

    // Shifts of 16 bits drag bits from byte to byte; the mask drops them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Load256(byte* quants, int step)
    {
        Vector256<ushort> fifths = Vector256.Load(quants + Bits4.QuantBytes).AsUInt16();
        Vector256<ushort> inPlace = step < 4 ? fifths << (4 - step) : fifths >> (step - 4);
        return Bits4.Load256(quants, step) | (inPlace.AsByte() & Vector256.Create((byte)0x10));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> Load512(byte* quants, int step)
    {
        Vector512<ushort> fifths = Vector512.Load(quants + Bits4.QuantBytes).AsUInt16();
        Vector512<ushort> inPlace = step < 4 ? fifths << (4 - step) : fifths >> (step - 4);
        return Bits4.Load512(quants, step) | (inPlace.AsByte() & Vector512.Create((byte)0x10));
    }

    public static int Get(byte* quants, int row, int column) =>
        Bits4.Get(quants, row, column) | (((quants[Bits4.QuantBytes + (row * 4) + (column % 4)] >> (column / 4)) & 1) << 4);

    public static void Put(byte* values, int row, byte* quants)
    {
        Bits4.Put(values, row, quants);
        uint fifths = 0;
        for (int i = 0; i < 8; i++)
        {
            fifths |= ((((uint*)values)[i] >> 4) & 0x0101_0101u) << i;
        }

        ((uint*)(quants + Bits4.QuantBytes))[row] = fifths;
    }
}
