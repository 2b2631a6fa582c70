using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Exact sums of products of unsigned weights below 32, in a panel or in packed groups, and the signed activations of eight tokens by AVX-512 BW, sixteen rows in lanes, two groups of them: the sums of
/// <see cref="PairDot512{TLayout}"/>, for twice as many tokens.
/// </summary>
/// <remarks>
/// Thirty-two columns of a panel are <c>[8 steps][2 groups][16 rows][4 columns]</c> bytes. Sixteen 16-bit sums, the two weights and an activation fill 19 of 32 registers; the wider sums wait in memory.
/// </remarks>
internal static unsafe class PanelDot512
{
    /// <summary>Bytes of one group's part of a step.</summary>
    internal const int VectorBytes = 64;

    /// <summary>Bytes of a step.</summary>
    internal const int StepBytes = 2 * VectorBytes;

    /// <summary>Bytes of 32 columns.</summary>
    internal const int QuantBytes = 8 * StepBytes;

    /// <summary>Whether weights are small enough.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static bool Takes<TLayout>()
        where TLayout : IQuantLayout => TLayout.MaxQuant < 32;

    /// <summary>How many steps are sure to fit in 16-bit sums: 4 or 8; see <see cref="PairDot512{TLayout}"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int Steps<TLayout>()
        where TLayout : IQuantLayout => TLayout.MaxQuant > 15 ? 4 : 8;

    /// <summary>Takes 32 columns of one packed group apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Fill<TLayout>(byte* quants, byte* panel)
        where TLayout : IQuantLayout
    {
        TLayout.Load512(quants, 0).Store(panel + (0 * StepBytes));
        TLayout.Load512(quants, 1).Store(panel + (1 * StepBytes));
        TLayout.Load512(quants, 2).Store(panel + (2 * StepBytes));
        TLayout.Load512(quants, 3).Store(panel + (3 * StepBytes));
        TLayout.Load512(quants, 4).Store(panel + (4 * StepBytes));
        TLayout.Load512(quants, 5).Store(panel + (5 * StepBytes));
        TLayout.Load512(quants, 6).Store(panel + (6 * StepBytes));
        TLayout.Load512(quants, 7).Store(panel + (7 * StepBytes));
    }

    /// <summary>Adds the products of some steps to 16-bit sums.</summary>
    /// <param name="block0">The first group's block.</param>
    /// <param name="block1">The second group's.</param>
    /// <param name="first">First step: 0 or 4.</param>
    /// <param name="count">Steps: 4 or 8.</param>
    /// <param name="column">Where the block's columns lie in the activations.</param>
    /// <param name="x0">Activations of the first token; the others are further tokens.</param>
    /// <param name="x1">Second token.</param>
    /// <param name="x2">Third token.</param>
    /// <param name="x3">Fourth token.</param>
    /// <param name="x4">Fifth token.</param>
    /// <param name="x5">Sixth token.</param>
    /// <param name="x6">Seventh token.</param>
    /// <param name="x7">Eighth token.</param>
    /// <param name="p00">Sums of the first group and token; the others are further groups and tokens.</param>
    /// <param name="p10">Sums.</param>
    /// <param name="p01">Sums.</param>
    /// <param name="p11">Sums.</param>
    /// <param name="p02">Sums.</param>
    /// <param name="p12">Sums.</param>
    /// <param name="p03">Sums.</param>
    /// <param name="p13">Sums.</param>
    /// <param name="p04">Sums.</param>
    /// <param name="p14">Sums.</param>
    /// <param name="p05">Sums.</param>
    /// <param name="p15">Sums.</param>
    /// <param name="p06">Sums.</param>
    /// <param name="p16">Sums.</param>
    /// <param name="p07">Sums.</param>
    /// <param name="p17">Sums.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Add<TLines>(
        byte* block0, byte* block1, int first, int count, nint column, sbyte* x0, sbyte* x1, sbyte* x2, sbyte* x3, sbyte* x4, sbyte* x5, sbyte* x6, sbyte* x7,
        ref Vector512<short> p00, ref Vector512<short> p10, ref Vector512<short> p01, ref Vector512<short> p11, ref Vector512<short> p02, ref Vector512<short> p12, ref Vector512<short> p03, ref Vector512<short> p13,
        ref Vector512<short> p04, ref Vector512<short> p14, ref Vector512<short> p05, ref Vector512<short> p15, ref Vector512<short> p06, ref Vector512<short> p16, ref Vector512<short> p07, ref Vector512<short> p17)
        where TLines : IWeightLines
    {
        Step<TLines>(block0, block1, first + 0, column, x0, x1, x2, x3, x4, x5, x6, x7, ref p00, ref p10, ref p01, ref p11, ref p02, ref p12, ref p03, ref p13, ref p04, ref p14, ref p05, ref p15, ref p06, ref p16, ref p07, ref p17);
        Step<TLines>(block0, block1, first + 1, column, x0, x1, x2, x3, x4, x5, x6, x7, ref p00, ref p10, ref p01, ref p11, ref p02, ref p12, ref p03, ref p13, ref p04, ref p14, ref p05, ref p15, ref p06, ref p16, ref p07, ref p17);
        Step<TLines>(block0, block1, first + 2, column, x0, x1, x2, x3, x4, x5, x6, x7, ref p00, ref p10, ref p01, ref p11, ref p02, ref p12, ref p03, ref p13, ref p04, ref p14, ref p05, ref p15, ref p06, ref p16, ref p07, ref p17);
        Step<TLines>(block0, block1, first + 3, column, x0, x1, x2, x3, x4, x5, x6, x7, ref p00, ref p10, ref p01, ref p11, ref p02, ref p12, ref p03, ref p13, ref p04, ref p14, ref p05, ref p15, ref p06, ref p16, ref p07, ref p17);
        if (count > 4)
        {
            Step<TLines>(block0, block1, first + 4, column, x0, x1, x2, x3, x4, x5, x6, x7, ref p00, ref p10, ref p01, ref p11, ref p02, ref p12, ref p03, ref p13, ref p04, ref p14, ref p05, ref p15, ref p06, ref p16, ref p07, ref p17);
            Step<TLines>(block0, block1, first + 5, column, x0, x1, x2, x3, x4, x5, x6, x7, ref p00, ref p10, ref p01, ref p11, ref p02, ref p12, ref p03, ref p13, ref p04, ref p14, ref p05, ref p15, ref p06, ref p16, ref p07, ref p17);
            Step<TLines>(block0, block1, first + 6, column, x0, x1, x2, x3, x4, x5, x6, x7, ref p00, ref p10, ref p01, ref p11, ref p02, ref p12, ref p03, ref p13, ref p04, ref p14, ref p05, ref p15, ref p06, ref p16, ref p07, ref p17);
            Step<TLines>(block0, block1, first + 7, column, x0, x1, x2, x3, x4, x5, x6, x7, ref p00, ref p10, ref p01, ref p11, ref p02, ref p12, ref p03, ref p13, ref p04, ref p14, ref p05, ref p15, ref p06, ref p16, ref p07, ref p17);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step<TLines>(
        byte* block0, byte* block1, int step, nint column, sbyte* x0, sbyte* x1, sbyte* x2, sbyte* x3, sbyte* x4, sbyte* x5, sbyte* x6, sbyte* x7,
        ref Vector512<short> p00, ref Vector512<short> p10, ref Vector512<short> p01, ref Vector512<short> p11, ref Vector512<short> p02, ref Vector512<short> p12, ref Vector512<short> p03, ref Vector512<short> p13,
        ref Vector512<short> p04, ref Vector512<short> p14, ref Vector512<short> p05, ref Vector512<short> p15, ref Vector512<short> p06, ref Vector512<short> p16, ref Vector512<short> p07, ref Vector512<short> p17)
        where TLines : IWeightLines
    {
        Vector512<byte> w0 = TLines.Load(block0, step), w1 = TLines.Load(block1, step);
        Add(w0, w1, x0 + column + (4 * step), ref p00, ref p10);
        Add(w0, w1, x1 + column + (4 * step), ref p01, ref p11);
        Add(w0, w1, x2 + column + (4 * step), ref p02, ref p12);
        Add(w0, w1, x3 + column + (4 * step), ref p03, ref p13);
        Add(w0, w1, x4 + column + (4 * step), ref p04, ref p14);
        Add(w0, w1, x5 + column + (4 * step), ref p05, ref p15);
        Add(w0, w1, x6 + column + (4 * step), ref p06, ref p16);
        Add(w0, w1, x7 + column + (4 * step), ref p07, ref p17);
    }

    // Four neighbouring activations in every lane: they meet four neighbouring columns of each row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(Vector512<byte> w0, Vector512<byte> w1, sbyte* x, ref Vector512<short> p0, ref Vector512<short> p1)
    {
        Vector512<sbyte> v = Vector512.Create(*(int*)x).AsSByte();
        p0 += Avx512BW.MultiplyAddAdjacent(w0, v);
        p1 += Avx512BW.MultiplyAddAdjacent(w1, v);
    }
}
