using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// <see cref="QuantizedTile{TLayout, TFormat, TDot}"/> for AVX-512 and weights below 64: sixteen rows in lanes, products summed in 16 bits as long as they fit
/// (<see cref="PairDot512{TLayout}"/>). The same sums in the same order.
/// </summary>
internal readonly unsafe struct QuantizedTile512<TLayout, TFormat> : IRowTile<QuantizedActivations>
    where TLayout : IQuantLayout
    where TFormat : IQuantizedFormat<TLayout>
{
    private const int BlockColumns = PackedQuantizedRows.BlockColumns;

    public static int Groups => 2;

    public static long GroupBytes(int columns) => PackedQuantizedRows.GroupBytes<TLayout, TFormat>(columns);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunFour(
        byte* group0, byte* group1, int columns, QuantizedActivations x, int tokenCount, float* y, nint yStride, nint secondGroup, nint ahead)
    {
        int blocks = columns / BlockColumns;
        TokenRows.Four(x.Quants, columns, tokenCount, out sbyte* x0, out sbyte* x1, out sbyte* x2, out sbyte* x3);
        TokenRows.Four(x.Scales, blocks, tokenCount, out float* d0, out float* d1, out float* d2, out float* d3);
        TokenRows.Four(x.Sums, blocks, tokenCount, out int* s0, out int* s1, out int* s2, out int* s3);
        Vector512<float> f00 = default, f01 = default, f02 = default, f03 = default, f10 = default, f11 = default, f12 = default, f13 = default;
        Vector512<short> one = Vector512<short>.One;
        for (nint b = 0; b < blocks; b++)
        {
            if (ahead != 0)
            {
                Prefetch.Ahead(group0, PackedQuantizedRows.BlockBytes<TLayout, TFormat>(), ahead);
                Prefetch.Ahead(group1, PackedQuantizedRows.BlockBytes<TLayout, TFormat>(), ahead);
            }

            Vector512<int> n00 = default, n01 = default, n02 = default, n03 = default, n10 = default, n11 = default, n12 = default, n13 = default;
            PairDot512<TLayout>.Add(
                group0, group1, 0, 8, x0, x1, x2, x3, one, one, ref n00, ref n01, ref n02, ref n03, ref n10, ref n11, ref n12, ref n13);

            Vector512<float> w0 = FloatLanes512.LoadHalf(PackedQuantizedRows.Scales<TLayout>(group0)), w1 = FloatLanes512.LoadHalf(PackedQuantizedRows.Scales<TLayout>(group1));
            f00 = Scale(n00, s0[b], w0, d0[b], f00);
            f01 = Scale(n01, s1[b], w0, d1[b], f01);
            f02 = Scale(n02, s2[b], w0, d2[b], f02);
            f03 = Scale(n03, s3[b], w0, d3[b], f03);
            f10 = Scale(n10, s0[b], w1, d0[b], f10);
            f11 = Scale(n11, s1[b], w1, d1[b], f11);
            f12 = Scale(n12, s2[b], w1, d2[b], f12);
            f13 = Scale(n13, s3[b], w1, d3[b], f13);
            if (TFormat.HasMinimum)
            {
                Vector512<float> m0 = FloatLanes512.LoadHalf(PackedQuantizedRows.Minima<TLayout>(group0)), m1 = FloatLanes512.LoadHalf(PackedQuantizedRows.Minima<TLayout>(group1));
                f00 = Shift(m0, d0[b] * s0[b], f00);
                f01 = Shift(m0, d1[b] * s1[b], f01);
                f02 = Shift(m0, d2[b] * s2[b], f02);
                f03 = Shift(m0, d3[b] * s3[b], f03);
                f10 = Shift(m1, d0[b] * s0[b], f10);
                f11 = Shift(m1, d1[b] * s1[b], f11);
                f12 = Shift(m1, d2[b] * s2[b], f12);
                f13 = Shift(m1, d3[b] * s3[b], f13);
            }

            group0 += PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
            group1 += PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
            x0 += BlockColumns;
            x1 += BlockColumns;
            x2 += BlockColumns;
            x3 += BlockColumns;
        }

        TokenRows.Four(y, yStride, tokenCount, out float* y0, out float* y1, out float* y2, out float* y3);
        Store(y0, secondGroup, f00, f10);
        Store(y1, secondGroup, f01, f11);
        Store(y2, secondGroup, f02, f12);
        Store(y3, secondGroup, f03, f13);
    }

    public static bool HasEight => PanelDot512.Takes<TLayout>();

    public static void RunEight(byte* group0, byte* group1, int columns, QuantizedActivations x, int tokenCount, float* sums, byte* scratch, nint ahead)
    {
        for (int column = 0; column < columns; column += TokenTable.Blocks * BlockColumns)
        {
            nint offset = column / BlockColumns * PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
            QuantizedEight512<TLayout, TFormat, PackedBlocks<TLayout, TFormat>>.Run(
                group0 + offset, group1 + offset, Math.Min(TokenTable.Blocks * BlockColumns, columns - column), x.FromColumn(column), columns, tokenCount, sums, scratch, ahead);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunOne(byte* group, int columns, QuantizedActivations x, float* y)
    {
        int blocks = columns / BlockColumns;
        sbyte* x0 = x.Quants;
        Vector512<float> f = default;
        Vector512<short> one = Vector512<short>.One;
        for (nint b = 0; b < blocks; b++)
        {
            Prefetch.Ahead(group, PackedQuantizedRows.BlockBytes<TLayout, TFormat>());
            Vector512<int> n = PairDot512<TLayout>.Four(group, 0, x0, one) + PairDot512<TLayout>.Four(group, 4, x0, one);
            f = Scale(n, x.Sums[b], FloatLanes512.LoadHalf(PackedQuantizedRows.Scales<TLayout>(group)), x.Scales[b], f);
            if (TFormat.HasMinimum)
            {
                f = Shift(FloatLanes512.LoadHalf(PackedQuantizedRows.Minima<TLayout>(group)), x.Scales[b] * x.Sums[b], f);
            }

            group += PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
            x0 += BlockColumns;
        }

        f.Store(y);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Scale(Vector512<int> dot, int activationSum, Vector512<float> weightScale, float activationScale, Vector512<float> sum)
    {
        Vector512<int> unbiased = TFormat.Bias == 0 ? dot : dot - Vector512.Create(TFormat.Bias * activationSum);
        return Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(unbiased) * weightScale, Vector512.Create(activationScale), sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Shift(Vector512<float> minimum, float activationSum, Vector512<float> sum) =>
        Vector512.FusedMultiplyAdd(minimum, Vector512.Create(activationSum), sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(float* y, nint secondGroup, Vector512<float> first, Vector512<float> second)
    {
        first.Store(y);
        second.Store(y + secondGroup);
    }
}
