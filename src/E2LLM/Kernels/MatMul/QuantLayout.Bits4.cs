using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>Nibbles: four runs of <c>[8 rows][4 bytes]</c>; a byte holds columns c (low nibble) and c + 16 (high nibble).</summary>
internal readonly unsafe struct Bits4 : IQuantLayout
{
    public static int QuantBytes => 128;

    public static bool FillsByte => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> LoadLow(byte* quants, int step) => Vector256.Load(quants + (step * 32)) & Vector256.Create((byte)0x0F);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> LoadHigh(byte* quants, int step) =>
        (Vector256.Load(quants + (step * 32)).AsUInt16() >> 4).AsByte() & Vector256.Create((byte)0x0F);

    public static int Get(byte* quants, int row, int column) => (quants[Index(row, column)] >> Shift(column)) & 0x0F;

    public static void Put(byte* values, int row, byte* quants)
    {
        for (int run = 0; run < 4; run++)
        {
            uint low = ((uint*)values)[run] & 0x0F0F_0F0Fu, high = ((uint*)values)[run + 4] & 0x0F0F_0F0Fu;
            ((uint*)quants)[(run * 8) + row] = low | (high << 4);
        }
    }

    private static int Index(int row, int column) => (column % 16 / 4 * 32) + (row * 4) + (column % 4);

    private static int Shift(int column) => column < 16 ? 0 : 4;
}
