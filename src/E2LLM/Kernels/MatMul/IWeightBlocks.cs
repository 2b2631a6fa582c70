using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>Where <see cref="PanelDot512"/> finds the quants of 16 rows x 32 columns: packed, or in a panel where they lie taken apart. The same numbers from both.</summary>
internal unsafe interface IWeightLines
{
    /// <summary>Columns <c>4 * step .. 4 * step + 3</c> of all 16 rows, as <see cref="IQuantLayout.Load512"/> gives them.</summary>
    static abstract Vector512<byte> Load(byte* block, int step);
}

/// <summary>Where <see cref="QuantizedEight512{TLayout, TFormat, TBlocks}"/> finds a whole block with its scales.</summary>
internal unsafe interface IWeightBlocks : IWeightLines
{
    /// <summary>Bytes from a block to the next of the same rows.</summary>
    static abstract int BlockBytes { get; }

    /// <summary>Lines of a block that are asked for ahead of use; 0 where it lies in a near cache.</summary>
    static abstract int StreamBytes { get; }

    /// <summary>The rows' scales.</summary>
    static abstract Vector512<float> Scales(byte* block);

    /// <summary>The rows' minima; only where the format has them.</summary>
    static abstract Vector512<float> Minima(byte* block);
}

/// <summary>Quants of a panel; those of the second group begin <see cref="PanelDot512.VectorBytes"/> after those of the first.</summary>
internal readonly unsafe struct PanelLines : IWeightLines
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> Load(byte* block, int step) => Vector512.Load(block + (step * PanelDot512.StepBytes));
}

/// <summary>Blocks of packed groups.</summary>
internal readonly unsafe struct PackedBlocks<TLayout, TFormat> : IWeightBlocks
    where TLayout : IQuantLayout
    where TFormat : IQuantizedFormat<TLayout>
{
    public static int BlockBytes
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
    }

    public static int StreamBytes
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => BlockBytes;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> Load(byte* block, int step) => TLayout.Load512(block, step);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Scales(byte* block) => FloatLanes512.LoadHalf(PackedQuantizedRows.Scales<TLayout>(block));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Minima(byte* block) => FloatLanes512.LoadHalf(PackedQuantizedRows.Minima<TLayout>(block));
}

/// <summary>Blocks of a <see cref="QuantizedPanel512{TLayout, TFormat}"/>; those of the second group begin <see cref="PanelDot512.VectorBytes"/> after those of the first.</summary>
internal readonly unsafe struct PanelBlocks<TLayout, TFormat> : IWeightBlocks
    where TLayout : IQuantLayout
    where TFormat : IQuantizedFormat<TLayout>
{
    public static int BlockBytes
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => PanelDot512.QuantBytes + (2 * PanelDot512.VectorBytes * (TFormat.HasMinimum ? 2 : 1));
    }

    public static int StreamBytes => 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<byte> Load(byte* block, int step) => PanelLines.Load(block, step);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Scales(byte* block) => Vector512.Load((float*)(block + PanelDot512.QuantBytes));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Minima(byte* block) => Vector512.Load((float*)(block + PanelDot512.QuantBytes + PanelDot512.StepBytes));
}
