using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Nibbles as in <see cref="Bits4"/>, then one run of <c>[8 rows][4 bytes]</c> with the fifth bits: bit i of byte b belongs to column 4 i + b.
/// </summary>
internal readonly unsafe struct Bits5 : IQuantLayout
{
    public static int QuantBytes => 160;

    public static bool FillsByte => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> LoadLow(byte* quants, int step) => Bits4.LoadLow(quants, step) | Fifth(quants, step);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> LoadHigh(byte* quants, int step) => Bits4.LoadHigh(quants, step) | Fifth(quants, step + 4);

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

    // Shifts of 16 bits drag bits from byte to byte; the mask drops them.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<byte> Fifth(byte* quants, int bit) =>
        (((Vector256.Load(quants + Bits4.QuantBytes).AsUInt16() >> bit) & Vector256.Create((ushort)0x0101)) << 4).AsByte();
}
