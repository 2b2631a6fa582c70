using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// <see cref="QuantizedTile512{TLayout, TFormat}"/> for many tokens: weights as bytes and scales as floats, taken apart once for all of them, then <see cref="QuantizedEight512{TLayout, TFormat, TBlocks}"/>.
/// The same sums in the same order.
/// </summary>
/// <remarks>A panel's block of 32 columns is its bytes (<see cref="PanelDot512"/>), then scales <c>[2 groups][16 rows]</c>, then minima likewise where the format has them.</remarks>
internal readonly unsafe struct QuantizedPanel512<TLayout, TFormat> : IRowPanel<QuantizedActivations>
    where TLayout : IQuantLayout
    where TFormat : IQuantizedFormat<TLayout>
{
    private const int BlockColumns = PackedQuantizedRows.BlockColumns;
    private const int GroupRows = PackedQuantizedRows.GroupRows;
    private const int VectorBytes = PanelDot512.VectorBytes;

    private static int BlockBytes
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => PanelBlocks<TLayout, TFormat>.BlockBytes;
    }

    public static int PanelBytes(int columns) => columns / BlockColumns * BlockBytes;

    public static nint StretchBytes(int columns) => columns / BlockColumns * PackedQuantizedRows.BlockBytes<TLayout, TFormat>();

    public static bool Begin(byte* group0, byte* group1, int columns, float* units)
    {
        Vector512<float>.One.Store(units);
        Vector512<float>.One.Store(units + GroupRows);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Fill(byte* group0, byte* group1, int depth, byte* panel, float* units)
    {
        for (int block = 0; block < depth / BlockColumns; block++)
        {
            FillBlock(group0, panel);
            FillBlock(group1, panel + VectorBytes);
            group0 += PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
            group1 += PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
            panel += BlockBytes;
        }
    }

    public static void RunEight(byte* panel, int depth, QuantizedActivations x, int columns, int tokenCount, float* sums, byte* scratch) =>
        QuantizedEight512<TLayout, TFormat, PanelBlocks<TLayout, TFormat>>.Run(panel, panel + VectorBytes, depth, x, columns, tokenCount, sums, scratch, 0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FillBlock(byte* block, byte* panel)
    {
        Prefetch.Ahead(block, PackedQuantizedRows.BlockBytes<TLayout, TFormat>());
        PanelDot512.Fill<TLayout>(block, panel);
        FloatLanes512.LoadHalf(PackedQuantizedRows.Scales<TLayout>(block)).Store((float*)(panel + PanelDot512.QuantBytes));
        if (TFormat.HasMinimum)
        {
            FloatLanes512.LoadHalf(PackedQuantizedRows.Minima<TLayout>(block)).Store((float*)(panel + PanelDot512.QuantBytes + (2 * VectorBytes)));
        }
    }
}
