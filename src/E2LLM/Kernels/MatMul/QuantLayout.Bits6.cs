using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Nibbles as in <see cref="Bits4"/>, then two runs of <c>[8 rows][4 bytes]</c> with the fifth and sixth bits: bits 2 i and 2 i + 1 of byte b belong to
/// column 4 i + b, in the second run to column 16 + 4 i + b.
/// </summary>
internal readonly unsafe struct Bits6 : IQuantLayout
{
    public static int QuantBytes => 192;

    public static bool FillsByte => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> LoadLow(byte* quants, int step) => Bits4.LoadLow(quants, step) | Top(quants + Bits4.QuantBytes, step);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> LoadHigh(byte* quants, int step) => Bits4.LoadHigh(quants, step) | Top(quants + Bits4.QuantBytes + 32, step);

    public static int Get(byte* quants, int row, int column) =>
        Bits4.Get(quants, row, column) | (((quants[Index(row, column)] >> Shift(column)) & 3) << 4);

    public static void Put(byte* values, int row, byte* quants)
    {
        Bits4.Put(values, row, quants);
        for (int run = 0; run < 2; run++)
        {
            uint tops = 0;
            for (int i = 0; i < 4; i++)
            {
                tops |= ((((uint*)values)[(run * 4) + i] >> 4) & 0x0303_0303u) << (2 * i);
            }

            ((uint*)(quants + Bits4.QuantBytes))[(run * 8) + row] = tops;
        }
    }

    private static int Index(int row, int column) => Bits4.QuantBytes + (column / 16 * 32) + (row * 4) + (column % 4);

    private static int Shift(int column) => column % 16 / 4 * 2;

    // Shifts of 16 bits drag bits from byte to byte; the mask drops them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<byte> Top(byte* run, int step) =>
        (((Vector256.Load(run).AsUInt16() >> (2 * step)) & Vector256.Create((ushort)0x0303)) << 4).AsByte();
}
