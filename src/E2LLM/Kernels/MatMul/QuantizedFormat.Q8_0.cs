using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>Q8_0: eight runs of <c>[8 rows][4 columns]</c>, each byte the stored signed one with its top bit flipped, which adds 128.</summary>
internal readonly unsafe struct Q8_0Format : IQuantizedFormat
{
    public static int QuantBytes => 256;

    public static int Bias => 128;

    public static bool HasMinimum => false;

    public static bool FillsByte => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> LoadLow(byte* quants, int step) => Vector256.Load(quants + (step * 32));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<byte> LoadHigh(byte* quants, int step) => Vector256.Load(quants + 128 + (step * 32));

    public static int Load(byte* quants, int row, int column) => quants[(column / 4 * 32) + (row * 4) + (column % 4)];

    public static int StoredQuantsOffset => sizeof(ushort);

    public static void Pack(byte* stored, int row, byte* quants)
    {
        for (int step = 0; step < 8; step++)
        {
            ((uint*)quants)[(step * 8) + row] = ((uint*)stored)[step] ^ 0x8080_8080u;
        }
    }

    public static void Unpack(byte* quants, int row, byte* stored)
    {
        for (int step = 0; step < 8; step++)
        {
            ((uint*)stored)[step] = ((uint*)quants)[(step * 8) + row] ^ 0x8080_8080u;
        }
    }
}
