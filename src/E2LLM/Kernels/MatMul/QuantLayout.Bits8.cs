using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>Whole bytes: eight runs of <c>[8 rows][4 columns]</c>.</summary>
internal readonly unsafe struct Bits8 : IQuantLayout
{
    public static int QuantBytes => 256;

    public static bool FillsByte => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> LoadLow(byte* quants, int step) => Vector256.Load(quants + (step * 32));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> LoadHigh(byte* quants, int step) => Vector256.Load(quants + 128 + (step * 32));

    public static int Get(byte* quants, int row, int column) => quants[Index(row, column)];

    public static void Put(byte* values, int row, byte* quants)
    {
        for (int run = 0; run < 8; run++)
        {
            ((uint*)quants)[(run * 8) + row] = ((uint*)values)[run];
        }
    }

    private static int Index(int row, int column) => (column / 4 * 32) + (row * 4) + (column % 4);
}
