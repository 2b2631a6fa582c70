using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// <see cref="SuperBlockTile512{TLayout, TFormat}"/> for many tokens and formats with minima: weights as bytes, scales and minima where a multiplication wants them and factors as floats, taken apart once
/// for all of them. The same sums in the same order.
/// </summary>
/// <remarks>
/// A panel's super-block is, for each of its eight sub-blocks, the bytes (<see cref="PanelDot512"/>) and for each of the two groups the scale, twice in each row's lane; then, for each two sub-blocks and
/// each group, minus their minima, side by side in each row's lane; then the factors as floats, d of both groups and dMin of both. Not for Q6_K: its sums outgrow 16 bits after two steps and its scales
/// change after four, so that they would wait in memory most of the time; tried, and no faster than the tile.
/// </remarks>
internal readonly unsafe struct SuperBlockPanel512<TLayout, TFormat> : IRowPanel<SuperBlockActivations>
    where TLayout : IQuantLayout
    where TFormat : ISuperBlockFormat<TLayout>
{
    private const int BlockColumns = PackedSuperBlockRows.BlockColumns;
    private const int SubBlocks = PackedSuperBlockRows.SubBlocks;
    private const int GroupRows = PackedQuantizedRows.GroupRows;
    private const int VectorBytes = PanelDot512.VectorBytes;
    private const int PairBytes = 2 * VectorBytes;

    // Outputs of one token.
    private const int Sums = 2 * GroupRows;

    private const int SubBlockBytes = PanelDot512.QuantBytes + PairBytes;
    private const int MinimaBytes = SubBlocks / 2 * PairBytes;
    private const int BlockBytes = (SubBlocks * SubBlockBytes) + MinimaBytes + (2 * PairBytes);

    public static int PanelBytes(int columns) => columns / BlockColumns * BlockBytes;

    public static nint StretchBytes(int columns) => columns / BlockColumns * PackedSuperBlockRows.BlockBytes<TLayout, TFormat>();

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
            group0 += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>();
            group1 += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>();
            panel += BlockBytes;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunEight(byte* panel, int depth, SuperBlockActivations x, int columns, int tokenCount, float* sums, byte* scratch)
    {
        int* parts = (int*)scratch;
        int blocks = columns / BlockColumns;
        TokenRows.Eight(x.Quants, columns, tokenCount, out sbyte* x0, out sbyte* x1, out sbyte* x2, out sbyte* x3, out sbyte* x4, out sbyte* x5, out sbyte* x6, out sbyte* x7);
        TokenRows.Eight(x.Scales, blocks, tokenCount, out float* d0, out float* d1, out float* d2, out float* d3, out float* d4, out float* d5, out float* d6, out float* d7);
        TokenRows.Eight(x.Sums, columns / 16, tokenCount, out short* s0, out short* s1, out short* s2, out short* s3, out short* s4, out short* s5, out short* s6, out short* s7);
        for (nint column = 0; column < depth;)
        {
            new Span<int>(parts, 8 * Sums).Clear();
            for (int sub = 0; sub < SubBlocks; sub++, column += 32, panel += SubBlockBytes)
            {
                for (int first = 0; first < 8; first += PanelDot512.Steps<TLayout>())
                {
                    Vector512<short> p00 = default, p10 = default, p01 = default, p11 = default, p02 = default, p12 = default, p03 = default, p13 = default, p04 = default, p14 = default, p05 = default, p15 = default, p06 = default, p16 = default, p07 = default, p17 = default;
                    PanelDot512.Add<PanelLines>(
                        panel, panel + VectorBytes, first, PanelDot512.Steps<TLayout>(), column, x0, x1, x2, x3, x4, x5, x6, x7,
                        ref p00, ref p10, ref p01, ref p11, ref p02, ref p12, ref p03, ref p13, ref p04, ref p14, ref p05, ref p15, ref p06, ref p16, ref p07, ref p17);
                    short* scales = (short*)(panel + PanelDot512.QuantBytes);
                    Vector512<short> scale0 = Vector512.Load(scales), scale1 = Vector512.Load(scales + Sums);
                    AddScaled(p00, p10, scale0, scale1, parts);
                    AddScaled(p01, p11, scale0, scale1, parts + Sums);
                    AddScaled(p02, p12, scale0, scale1, parts + (2 * Sums));
                    AddScaled(p03, p13, scale0, scale1, parts + (3 * Sums));
                    AddScaled(p04, p14, scale0, scale1, parts + (4 * Sums));
                    AddScaled(p05, p15, scale0, scale1, parts + (5 * Sums));
                    AddScaled(p06, p16, scale0, scale1, parts + (6 * Sums));
                    AddScaled(p07, p17, scale0, scale1, parts + (7 * Sums));
                }
            }

            nint block = (column / BlockColumns) - 1;
            Fold(panel, d0[block], s0 + (16 * block), parts, sums);
            Fold(panel, d1[block], s1 + (16 * block), parts + Sums, sums + Sums);
            Fold(panel, d2[block], s2 + (16 * block), parts + (2 * Sums), sums + (2 * Sums));
            Fold(panel, d3[block], s3 + (16 * block), parts + (3 * Sums), sums + (3 * Sums));
            Fold(panel, d4[block], s4 + (16 * block), parts + (4 * Sums), sums + (4 * Sums));
            Fold(panel, d5[block], s5 + (16 * block), parts + (5 * Sums), sums + (5 * Sums));
            Fold(panel, d6[block], s6 + (16 * block), parts + (6 * Sums), sums + (6 * Sums));
            Fold(panel, d7[block], s7 + (16 * block), parts + (7 * Sums), sums + (7 * Sums));
            panel += BlockBytes - (SubBlocks * SubBlockBytes);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FillBlock(byte* block, byte* panel)
    {
        for (nint sub = 0; sub < SubBlocks; sub++, panel += SubBlockBytes)
        {
            byte* quants = block + (sub * TLayout.QuantBytes);
            Prefetch.Ahead(quants, PackedSuperBlockRows.BlockBytes<TLayout, TFormat>() / SubBlocks);
            PanelDot512.Fill<TLayout>(quants, panel);
            SuperBlockTile512<TLayout, TFormat>.Scale(block, sub).Store((short*)(panel + PanelDot512.QuantBytes));
        }

        for (nint sub = 0; sub < SubBlocks; sub += 2, panel += PairBytes)
        {
            Vector512<short> even = SuperBlockTile512<TLayout, TFormat>.Minimum(block, sub), odd = SuperBlockTile512<TLayout, TFormat>.Minimum(block, sub + 1);
            (-Vector512.ConditionalSelect(Vector512.Create(0x0000FFFF).AsInt16(), even, odd)).Store((short*)panel);
        }

        ushort* factors = (ushort*)(block + PackedSuperBlockRows.FactorsOffset<TLayout, TFormat>());
        FloatLanes512.LoadHalf(factors).Store((float*)panel);
        FloatLanes512.LoadHalf(factors + GroupRows).Store((float*)(panel + PairBytes));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddScaled(Vector512<short> p0, Vector512<short> p1, Vector512<short> scale0, Vector512<short> scale1, int* parts)
    {
        (Vector512.Load(parts) + Avx512BW.MultiplyAddAdjacent(p0, scale0)).Store(parts);
        (Vector512.Load(parts + GroupRows) + Avx512BW.MultiplyAddAdjacent(p1, scale1)).Store(parts + GroupRows);
    }

    // Adds one token's finished super-block to its outputs; tail is what follows the sub-blocks in the panel.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Fold(byte* tail, float activationScale, short* activationSums, int* parts, float* sums)
    {
        float* factors = (float*)(tail + MinimaBytes);
        Vector512<float> d = Vector512.Create(activationScale), f0 = Vector512.Load(sums), f1 = Vector512.Load(sums + GroupRows);
        f0 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(Vector512.Load(parts)), Vector512.Load(factors) * d, f0);
        f1 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(Vector512.Load(parts + GroupRows)), Vector512.Load(factors + GroupRows) * d, f1);
        // Sums of 16 become sums of 32, two of which meet the minima of two sub-blocks at once.
        Vector256<short> sixteens = Vector256.Load(activationSums);
        Vector256<int> thirtyTwos = Avx2.MultiplyAddAdjacent(sixteens, Vector256<short>.One);
        Vector128<int> pairs = Sse2.PackSignedSaturate(thirtyTwos.GetLower(), thirtyTwos.GetUpper()).AsInt32();
        Vector512<int> n0 = default, n1 = default;
        AddMinima(pairs, tail, ref n0, ref n1);
        AddMinima(Sse2.Shuffle(pairs, 0b01_01_01_01), tail + PairBytes, ref n0, ref n1);
        AddMinima(Sse2.Shuffle(pairs, 0b10_10_10_10), tail + (2 * PairBytes), ref n0, ref n1);
        AddMinima(Sse2.Shuffle(pairs, 0b11_11_11_11), tail + (3 * PairBytes), ref n0, ref n1);
        f0 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(n0), Vector512.Load(factors + Sums) * d, f0);
        f1 = Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(n1), Vector512.Load(factors + Sums + GroupRows) * d, f1);
        f0.Store(sums);
        f1.Store(sums + GroupRows);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddMinima(Vector128<int> sums, byte* minima, ref Vector512<int> n0, ref Vector512<int> n1)
    {
        Vector512<short> pair = Avx512F.BroadcastScalarToVector512(sums).AsInt16();
        n0 += Avx512BW.MultiplyAddAdjacent(pair, Vector512.Load((short*)minima));
        n1 += Avx512BW.MultiplyAddAdjacent(pair, Vector512.Load((short*)(minima + VectorBytes)));
    }
}
