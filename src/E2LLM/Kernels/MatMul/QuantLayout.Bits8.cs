using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>Whole bytes: eight lines.</summary>
internal readonly unsafe struct Bits8 : IQuantLayout
{
    public static int QuantBytes => 512;

    public static int MaxQuant => 255;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> Load256(byte* quants, int step) => Vector256.Load(quants + (step * 64));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> Load512(byte* quants, int step) => Vector512.Load(quants + (step * 64));

    public static int Get(byte* quants, int row, int column) => quants[Index(row, column)];

    public static void Put(byte* values, int row, byte* quants)
    {
        for (int line = 0; line < 8; line++)
        {
            ((uint*)quants)[(line * 16) + row] = ((uint*)values)[line];
        }
    }

    private static int Index(int row, int column) => (column / 4 * 64) + (row * 4) + (column % 4);
}
