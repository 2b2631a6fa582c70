using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Nibbles as in <see cref="Bits4"/>, then two lines with the fifth and sixth bits: bits 2 i and 2 i + 1 of byte b belong to column 4 i + b, in the
/// second line to column 16 + 4 i + b.
/// </summary>
internal readonly unsafe struct Bits6 : IQuantLayout
{
    public static int QuantBytes => 384;

    public static int MaxQuant => 63;

    // Shifts of 16 bits drag bits from byte to byte; the mask drops them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Load256(byte* quants, int step)
    {
        Vector256<ushort> tops = Vector256.Load(quants + Bits4.QuantBytes + (step / 4 * 64)).AsUInt16();
        Vector256<ushort> inPlace = step % 4 < 2 ? tops << (4 - (2 * (step % 4))) : tops >> ((2 * (step % 4)) - 4);
        return Bits4.Load256(quants, step) | (inPlace.AsByte() & Vector256.Create((byte)0x30));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> Load512(byte* quants, int step)
    {
        Vector512<ushort> tops = Vector512.Load(quants + Bits4.QuantBytes + (step / 4 * 64)).AsUInt16();
        Vector512<ushort> inPlace = step % 4 < 2 ? tops << (4 - (2 * (step % 4))) : tops >> ((2 * (step % 4)) - 4);
        return Bits4.Load512(quants, step) | (inPlace.AsByte() & Vector512.Create((byte)0x30));
    }

    public static int Get(byte* quants, int row, int column) =>
        Bits4.Get(quants, row, column) | (((quants[Index(row, column)] >> Shift(column)) & 3) << 4);

    public static void Put(byte* values, int row, byte* quants)
    {
        Bits4.Put(values, row, quants);
        for (int line = 0; line < 2; line++)
        {
            uint tops = 0;
            for (int i = 0; i < 4; i++)
            {
                tops |= ((((uint*)values)[(line * 4) + i] >> 4) & 0x0303_0303u) << (2 * i);
            }

            ((uint*)(quants + Bits4.QuantBytes))[(line * 16) + row] = tops;
        }
    }

    private static int Index(int row, int column) => Bits4.QuantBytes + (column / 16 * 64) + (row * 4) + (column % 4);

    private static int Shift(int column) => column % 16 / 4 * 2;
}
