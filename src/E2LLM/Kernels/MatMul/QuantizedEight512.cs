using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// The inner loop over two groups of 16 rows and up to eight tokens for weights below 32 by AVX-512: <see cref="QuantizedTile512{TLayout, TFormat}"/> for twice as many tokens, so that weights are taken
/// apart half as often; sums rest in memory between blocks. The same sums in the same order.
/// </summary>
/// <typeparam name="TLayout">How quants are packed.</typeparam>
/// <typeparam name="TFormat">The format.</typeparam>
/// <typeparam name="TBlocks">Where the weights are.</typeparam>
internal static unsafe class QuantizedEight512<TLayout, TFormat, TBlocks>
    where TLayout : IQuantLayout
    where TFormat : IQuantizedFormat<TLayout>
    where TBlocks : IWeightBlocks
{
    private const int BlockColumns = PackedQuantizedRows.BlockColumns;
    private const int GroupRows = PackedQuantizedRows.GroupRows;

    // Outputs of one token.
    private const int Sums = 2 * GroupRows;

    /// <summary>Adds the products of a stretch of columns to the sums.</summary>
    /// <param name="block0">The first group's first block of the stretch.</param>
    /// <param name="block1">The second group's, or the first's again.</param>
    /// <param name="depth">Columns of the stretch, at most 512.</param>
    /// <param name="x">Activations of the first token, from the stretch's first column on.</param>
    /// <param name="columns">Columns of the matrix.</param>
    /// <param name="tokenCount">1 to 8; a missing token is the first again.</param>
    /// <param name="sums"><c>[8 tokens][2 groups][16 rows]</c>.</param>
    /// <param name="scratch"><see cref="ScratchBytes"/>, on a cache line.</param>
    /// <param name="ahead">How far ahead weights are asked for, where they stream; 0 for not at all.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Run(byte* block0, byte* block1, int depth, QuantizedActivations x, int columns, int tokenCount, float* sums, byte* scratch, nint ahead)
    {
        TokenRows.Eight(x.Quants, columns, tokenCount, out sbyte* x0, out sbyte* x1, out sbyte* x2, out sbyte* x3, out sbyte* x4, out sbyte* x5, out sbyte* x6, out sbyte* x7);
        TokenTable.Fill<TLayout, TFormat>(x, depth, columns, tokenCount, scratch);
        int* parts = (int*)(scratch + TokenTable.Bytes);
        byte* table = scratch;
        Vector512<short> one = Vector512<short>.One;
        for (nint column = 0; column < depth; column += BlockColumns, table += sizeof(float))
        {
            if (ahead != 0)
            {
                Prefetch.Ahead(block0, TBlocks.StreamBytes, ahead);
                Prefetch.Ahead(block1, TBlocks.StreamBytes, ahead);
            }

            Vector512<short> p00 = Start(table, 0), p01 = Start(table, 1), p02 = Start(table, 2), p03 = Start(table, 3), p04 = Start(table, 4), p05 = Start(table, 5), p06 = Start(table, 6), p07 = Start(table, 7);
            Vector512<short> p10 = p00, p11 = p01, p12 = p02, p13 = p03, p14 = p04, p15 = p05, p16 = p06, p17 = p07;
            PanelDot512.Add<TBlocks>(
                block0, block1, 0, PanelDot512.Steps<TLayout>(), column, x0, x1, x2, x3, x4, x5, x6, x7,
                ref p00, ref p10, ref p01, ref p11, ref p02, ref p12, ref p03, ref p13, ref p04, ref p14, ref p05, ref p15, ref p06, ref p16, ref p07, ref p17);
            if (PanelDot512.Steps<TLayout>() == 4)
            {
                Park(ref p00, ref p10, one, parts);
                Park(ref p01, ref p11, one, parts + Sums);
                Park(ref p02, ref p12, one, parts + (2 * Sums));
                Park(ref p03, ref p13, one, parts + (3 * Sums));
                Park(ref p04, ref p14, one, parts + (4 * Sums));
                Park(ref p05, ref p15, one, parts + (5 * Sums));
                Park(ref p06, ref p16, one, parts + (6 * Sums));
                Park(ref p07, ref p17, one, parts + (7 * Sums));
                PanelDot512.Add<TBlocks>(
                    block0, block1, 4, 4, column, x0, x1, x2, x3, x4, x5, x6, x7,
                    ref p00, ref p10, ref p01, ref p11, ref p02, ref p12, ref p03, ref p13, ref p04, ref p14, ref p05, ref p15, ref p06, ref p16, ref p07, ref p17);
            }

            Vector512<float> w0 = TBlocks.Scales(block0), w1 = TBlocks.Scales(block1), m0 = default, m1 = default;
            if (TFormat.HasMinimum)
            {
                (m0, m1) = (TBlocks.Minima(block0), TBlocks.Minima(block1));
            }

            Fold(p00, p10, one, w0, w1, m0, m1, parts, table, 0, sums);
            Fold(p01, p11, one, w0, w1, m0, m1, parts, table, 1, sums);
            Fold(p02, p12, one, w0, w1, m0, m1, parts, table, 2, sums);
            Fold(p03, p13, one, w0, w1, m0, m1, parts, table, 3, sums);
            Fold(p04, p14, one, w0, w1, m0, m1, parts, table, 4, sums);
            Fold(p05, p15, one, w0, w1, m0, m1, parts, table, 5, sums);
            Fold(p06, p16, one, w0, w1, m0, m1, parts, table, 6, sums);
            Fold(p07, p17, one, w0, w1, m0, m1, parts, table, 7, sums);
            block0 += TBlocks.BlockBytes;
            block1 += TBlocks.BlockBytes;
        }
    }

    /// <summary>Bytes of scratch that <see cref="Run"/> wants.</summary>
    internal const int ScratchBytes = TokenTable.Bytes + (8 * Sums * sizeof(int));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<short> Start(byte* table, int token) => TokenTable.Start<TLayout, TFormat>(table, token);

    // Widens the sums of the first half of a block, and begins those of the second.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Park(ref Vector512<short> p0, ref Vector512<short> p1, Vector512<short> one, int* parts)
    {
        Avx512BW.MultiplyAddAdjacent(p0, one).Store(parts);
        Avx512BW.MultiplyAddAdjacent(p1, one).Store(parts + GroupRows);
        p0 = p1 = default;
    }

    // Adds one token's finished block to its outputs.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Fold(
        Vector512<short> p0, Vector512<short> p1, Vector512<short> one, Vector512<float> w0, Vector512<float> w1, Vector512<float> m0, Vector512<float> m1, int* parts, byte* table, int token, float* sums)
    {
        parts += token * Sums;
        sums += token * Sums;
        Vector512<int> dot0 = Avx512BW.MultiplyAddAdjacent(p0, one), dot1 = Avx512BW.MultiplyAddAdjacent(p1, one);
        if (PanelDot512.Steps<TLayout>() == 4)
        {
            dot0 += Vector512.Load(parts);
            dot1 += Vector512.Load(parts + GroupRows);
            if (TFormat.Bias != 0)
            {
                dot0 += TokenTable.LateStart(table, token);
                dot1 += TokenTable.LateStart(table, token);
            }
        }

        Vector512<float> d = TokenTable.Scale(table, token);
        Vector512<float> f0 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(dot0) * w0, d, Vector512.Load(sums));
        Vector512<float> f1 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(dot1) * w1, d, Vector512.Load(sums + GroupRows));
        if (TFormat.HasMinimum)
        {
            Vector512<float> shift = TokenTable.Shift(table, token);
            f0 = Vector512.FusedMultiplyAdd(m0, shift, f0);
            f1 = Vector512.FusedMultiplyAdd(m1, shift, f1);
        }

        f0.Store(sums);
        f1.Store(sums + GroupRows);
    }
}
