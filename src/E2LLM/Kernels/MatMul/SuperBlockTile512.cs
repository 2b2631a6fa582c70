using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// <see cref="SuperBlockTile{TLayout, TFormat, TDot}"/> for AVX-512: sixteen rows in lanes, products summed in 16 bits as long as they fit, and widened by the multiplication with
/// the sub-block's scale (<see cref="PairDot512{TLayout}"/>). The same sums in the same order.
/// </summary>
internal readonly unsafe struct SuperBlockTile512<TLayout, TFormat> : IRowTile<SuperBlockActivations>
    where TLayout : IQuantLayout
    where TFormat : ISuperBlockFormat<TLayout>
{
    private const int BlockColumns = PackedSuperBlockRows.BlockColumns;
    private const int SubBlocks = PackedSuperBlockRows.SubBlocks;
    private const int GroupRows = PackedQuantizedRows.GroupRows;

    public static int Groups => 2;

    public static long GroupBytes(int columns) => PackedSuperBlockRows.GroupBytes<TLayout, TFormat>(columns);

    // Byte r of each 16 becomes the 16-bit pair (r, r) of lane r: every 128 bits hold all 16 bytes.
    private static Vector512<byte> SpreadControl
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Vector512.Create(
            0xFF00FF00u, 0xFF01FF01u, 0xFF02FF02u, 0xFF03FF03u, 0xFF04FF04u, 0xFF05FF05u, 0xFF06FF06u, 0xFF07FF07u,
            0xFF08FF08u, 0xFF09FF09u, 0xFF0AFF0Au, 0xFF0BFF0Bu, 0xFF0CFF0Cu, 0xFF0DFF0Du, 0xFF0EFF0Eu, 0xFF0FFF0Fu).AsByte();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunFour(
        byte* group0, byte* group1, int columns, SuperBlockActivations x, int tokenCount, float* y, nint yStride, nint secondGroup, nint ahead)
    {
        int blocks = columns / BlockColumns;
        TokenRows.Four(x.Quants, columns, tokenCount, out sbyte* x0, out sbyte* x1, out sbyte* x2, out sbyte* x3);
        TokenRows.Four(x.Scales, blocks, tokenCount, out float* scales0, out float* scales1, out float* scales2, out float* scales3);
        TokenRows.Four(x.Sums, columns / 16, tokenCount, out short* s0, out short* s1, out short* s2, out short* s3);
        Vector512<float> f00 = default, f01 = default, f02 = default, f03 = default, f10 = default, f11 = default, f12 = default, f13 = default;
        for (nint block = 0; block < blocks; block++)
        {
            Vector512<int> n00 = default, n01 = default, n02 = default, n03 = default, n10 = default, n11 = default, n12 = default, n13 = default;
            for (nint sub = 0; sub < SubBlocks; sub++)
            {
                byte* quants0 = group0 + (sub * TLayout.QuantBytes), quants1 = group1 + (sub * TLayout.QuantBytes);
                if (ahead != 0)
                {
                    Prefetch.Ahead(quants0, PackedSuperBlockRows.BlockBytes<TLayout, TFormat>() / SubBlocks, ahead);
                    Prefetch.Ahead(quants1, PackedSuperBlockRows.BlockBytes<TLayout, TFormat>() / SubBlocks, ahead);
                }

                if (TFormat.ScalesPerSubBlock == 1)
                {
                    PairDot512<TLayout>.Add(
                        quants0, quants1, 0, 8, x0, x1, x2, x3, Scale(group0, sub), Scale(group1, sub), ref n00, ref n01, ref n02, ref n03, ref n10, ref n11, ref n12, ref n13);
                }
                else
                {
                    Vector512<short> both0 = TwoScales(group0, sub), both1 = TwoScales(group1, sub);
                    PairDot512<TLayout>.Add(
                        quants0, quants1, 0, 4, x0, x1, x2, x3, Low(both0), Low(both1), ref n00, ref n01, ref n02, ref n03, ref n10, ref n11, ref n12, ref n13);
                    PairDot512<TLayout>.Add(
                        quants0, quants1, 4, 4, x0, x1, x2, x3, High(both0), High(both1), ref n00, ref n01, ref n02, ref n03, ref n10, ref n11, ref n12, ref n13);
                    both0 *= (short)-TFormat.Bias;
                    both1 *= (short)-TFormat.Bias;
                    AddSums(both0, both1, sub, s0, s1, s2, s3, ref n00, ref n01, ref n02, ref n03, ref n10, ref n11, ref n12, ref n13);
                }

                x0 += 32;
                x1 += 32;
                x2 += 32;
                x3 += 32;
            }

            float d0 = scales0[block], d1 = scales1[block], d2 = scales2[block], d3 = scales3[block];
            Fold(group0, group1, 0, d0, d1, d2, d3, n00, n01, n02, n03, n10, n11, n12, n13, ref f00, ref f01, ref f02, ref f03, ref f10, ref f11, ref f12, ref f13);
            if (TFormat.HasMinima)
            {
                // Minus the minima, so that the same folding adds them.
                n00 = n01 = n02 = n03 = n10 = n11 = n12 = n13 = default;
                for (nint sub = 0; sub < SubBlocks; sub++)
                {
                    AddSums(
                        -Minimum(group0, sub), -Minimum(group1, sub), sub, s0, s1, s2, s3, ref n00, ref n01, ref n02, ref n03, ref n10, ref n11, ref n12, ref n13);
                }

                Fold(group0, group1, 1, d0, d1, d2, d3, n00, n01, n02, n03, n10, n11, n12, n13, ref f00, ref f01, ref f02, ref f03, ref f10, ref f11, ref f12, ref f13);
            }

            group0 += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>();
            group1 += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>();
            s0 += 16;
            s1 += 16;
            s2 += 16;
            s3 += 16;
        }

        TokenRows.Four(y, yStride, tokenCount, out float* y0, out float* y1, out float* y2, out float* y3);
        Store(y0, secondGroup, f00, f10);
        Store(y1, secondGroup, f01, f11);
        Store(y2, secondGroup, f02, f12);
        Store(y3, secondGroup, f03, f13);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunOne(byte* group, int columns, SuperBlockActivations x, float* y)
    {
        Vector512<float> f = default;
        sbyte* x0 = x.Quants;
        short* sums = x.Sums;
        for (nint block = 0; block < columns / BlockColumns; block++)
        {
            Vector512<int> n = default, m = default;
            for (nint sub = 0; sub < SubBlocks; sub++)
            {
                byte* quants = group + (sub * TLayout.QuantBytes);
                Prefetch.Ahead(quants, PackedSuperBlockRows.BlockBytes<TLayout, TFormat>() / SubBlocks);
                if (TFormat.ScalesPerSubBlock == 1)
                {
                    Vector512<short> scale = Scale(group, sub);
                    n += PairDot512<TLayout>.Four(quants, 0, x0, scale) + PairDot512<TLayout>.Four(quants, 4, x0, scale);
                }
                else
                {
                    Vector512<short> both = TwoScales(group, sub);
                    n += PairDot512<TLayout>.Four(quants, 0, x0, Low(both)) + PairDot512<TLayout>.Four(quants, 4, x0, High(both));
                    n += Avx512BW.MultiplyAddAdjacent(both * (short)-TFormat.Bias, Sums(sums, sub));
                }

                if (TFormat.HasMinima)
                {
                    m += Avx512BW.MultiplyAddAdjacent(-Minimum(group, sub), Sums(sums, sub));
                }

                x0 += 32;
            }

            f = Fold(group, 0, n, x.Scales[block], f);
            if (TFormat.HasMinima)
            {
                f = Fold(group, 1, m, x.Scales[block], f);
            }

            group += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>();
            sums += 16;
        }

        f.Store(y);
    }

    // The scale of 32 columns, twice in each row's lane.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<short> Scale(byte* group, nint sub) => Spread(group + PackedSuperBlockRows.ScalesOffset<TLayout>() + (sub * GroupRows));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<short> Minimum(byte* group, nint sub) => Spread(group + PackedSuperBlockRows.MinimaOffset<TLayout, TFormat>() + (sub * GroupRows));

    // Unsigned 6-bit numbers, so no sign is lost.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<short> Spread(byte* bytes) => Avx512BW.Shuffle(Avx512F.BroadcastVector128ToVector512((int*)bytes).AsByte(), SpreadControl).AsInt16();

    // The scales of 16 and 16 columns, side by side in each row's lane.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<short> TwoScales(byte* group, nint sub) =>
        Avx512BW.ConvertToVector512Int16(Vector256.Load((sbyte*)(group + PackedSuperBlockRows.ScalesOffset<TLayout>() + (sub * 2 * GroupRows))));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<short> Low(Vector512<short> pairs) => ((pairs.AsInt32() << 16) | (pairs.AsInt32() & Vector512.Create(0xFFFF))).AsInt16();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<short> High(Vector512<short> pairs) => ((pairs.AsUInt32() >> 16) | (pairs.AsUInt32() & Vector512.Create(0xFFFF_0000u))).AsInt16();

    // The sums of 16 and 16 activations, side by side in every lane.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<short> Sums(short* sums, nint sub) => Vector512.Create(((int*)sums)[sub]).AsInt16();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddSums(
        Vector512<short> factor0, Vector512<short> factor1, nint sub, short* s0, short* s1, short* s2, short* s3,
        ref Vector512<int> n00, ref Vector512<int> n01, ref Vector512<int> n02, ref Vector512<int> n03,
        ref Vector512<int> n10, ref Vector512<int> n11, ref Vector512<int> n12, ref Vector512<int> n13)
    {
        n00 += Avx512BW.MultiplyAddAdjacent(factor0, Sums(s0, sub));
        n10 += Avx512BW.MultiplyAddAdjacent(factor1, Sums(s0, sub));
        n01 += Avx512BW.MultiplyAddAdjacent(factor0, Sums(s1, sub));
        n11 += Avx512BW.MultiplyAddAdjacent(factor1, Sums(s1, sub));
        n02 += Avx512BW.MultiplyAddAdjacent(factor0, Sums(s2, sub));
        n12 += Avx512BW.MultiplyAddAdjacent(factor1, Sums(s2, sub));
        n03 += Avx512BW.MultiplyAddAdjacent(factor0, Sums(s3, sub));
        n13 += Avx512BW.MultiplyAddAdjacent(factor1, Sums(s3, sub));
    }

    // Adds finished integer sums of a super-block to the outputs: times d (factor 0) or dMin (factor 1).
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Fold(
        byte* group0, byte* group1, int factor, float d0, float d1, float d2, float d3,
        Vector512<int> n00, Vector512<int> n01, Vector512<int> n02, Vector512<int> n03, Vector512<int> n10, Vector512<int> n11, Vector512<int> n12, Vector512<int> n13,
        ref Vector512<float> f00, ref Vector512<float> f01, ref Vector512<float> f02, ref Vector512<float> f03,
        ref Vector512<float> f10, ref Vector512<float> f11, ref Vector512<float> f12, ref Vector512<float> f13)
    {
        f00 = Fold(group0, factor, n00, d0, f00);
        f01 = Fold(group0, factor, n01, d1, f01);
        f02 = Fold(group0, factor, n02, d2, f02);
        f03 = Fold(group0, factor, n03, d3, f03);
        f10 = Fold(group1, factor, n10, d0, f10);
        f11 = Fold(group1, factor, n11, d1, f11);
        f12 = Fold(group1, factor, n12, d2, f12);
        f13 = Fold(group1, factor, n13, d3, f13);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Fold(byte* group, int factor, Vector512<int> sum, float activationScale, Vector512<float> total)
    {
        ushort* factors = (ushort*)(group + PackedSuperBlockRows.FactorsOffset<TLayout, TFormat>()) + (factor * GroupRows);
        return Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(sum), FloatLanes512.LoadHalf(factors) * Vector512.Create(activationScale), total);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(float* y, nint secondGroup, Vector512<float> first, Vector512<float> second)
    {
        first.Store(y);
        second.Store(y + secondGroup);
    }
}
