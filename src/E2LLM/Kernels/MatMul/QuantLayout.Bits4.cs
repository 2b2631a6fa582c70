using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>Nibbles: four lines; a byte holds columns c (low nibble) and c + 16 (high nibble).</summary>
internal readonly unsafe struct Bits4 : IQuantLayout
{
    public static int QuantBytes => 256;

    public static int MaxQuant => 15;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Load256(byte* quants, int step) => step < 4
        ? Vector256.Load(quants + (step * 64)) & Vector256.Create((byte)0x0F)
        : (Vector256.Load(quants + ((step - 4) * 64)).AsUInt16() >> 4).AsByte() & Vector256.Create((byte)0x0F);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> Load512(byte* quants, int step) => step < 4
        ? Vector512.Load(quants + (step * 64)) & Vector512.Create((byte)0x0F)
        : (Vector512.Load(quants + ((step - 4) * 64)).AsUInt16() >> 4).AsByte() & Vector512.Create((byte)0x0F);

    public static int Get(byte* quants, int row, int column) => (quants[Index(row, column)] >> Shift(column)) & 0x0F;

    public static void Put(byte* values, int row, byte* quants)
    {
        for (int line = 0; line < 4; line++)
        {
            uint low = ((uint*)values)[line] & 0x0F0F_0F0Fu, high = ((uint*)values)[line + 4] & 0x0F0F_0F0Fu;
            ((uint*)quants)[(line * 16) + row] = low | (high << 4);
        }
    }

    private static int Index(int row, int column) => (column % 16 / 4 * 64) + (row * 4) + (column % 4);

    private static int Shift(int column) => column < 16 ? 0 : 4;
}
