using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// The inner loops of products of weights with one scale per 32 columns, two vectors of eight rows in lanes:
/// <c>y[t][r] = sum over blocks b ascending of scale[r][b] * xScale[t][b] * (exact integer dot product of block b) (+ minimum[r][b] * xScale[t][b] * xSum[t][b])</c>.
/// </summary>
/// <remarks>
/// Shapes: packed groups (<see cref="PackedQuantizedRows"/>); activations as <see cref="Quantization.QuantizeActivations"/> leaves them, one token after another.
/// Numerics: per output one float accumulator, blocks ascending, one multiply-add a block (two where the format has a minimum): the same
/// bits in <see cref="RunFour"/> and <see cref="RunOne"/>.
/// </remarks>
internal readonly unsafe struct QuantizedTile<TLayout, TFormat, TDot> : IRowTile<QuantizedActivations>
    where TLayout : IQuantLayout
    where TFormat : IQuantizedFormat<TLayout>
    where TDot : IIntegerDot
{
    private const int BlockColumns = PackedQuantizedRows.BlockColumns;

    // Rows 8 to 15: their bytes in a line, their place among scales and outputs.
    private const int HalfLine = 32;
    private const int HalfRows = PackedQuantizedRows.GroupRows / 2;

    public static int Groups => 1;

    public static long GroupBytes(int columns) => PackedQuantizedRows.GroupBytes<TLayout, TFormat>(columns);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunFour(
        byte* group0, byte* group1, int columns, QuantizedActivations x, int tokenCount, float* y, nint yStride, nint secondGroup, nint ahead)
    {
        int blocks = columns / BlockColumns;
        nint t1 = tokenCount > 1 ? 1 : 0, t2 = tokenCount > 2 ? 2 : 0, t3 = tokenCount > 3 ? 3 : 0;
        sbyte* x0 = x.Quants, x1 = x0 + (t1 * columns), x2 = x0 + (t2 * columns), x3 = x0 + (t3 * columns);
        float* d0 = x.Scales, d1 = d0 + (t1 * blocks), d2 = d0 + (t2 * blocks), d3 = d0 + (t3 * blocks);
        int* s0 = x.Sums, s1 = s0 + (t1 * blocks), s2 = s0 + (t2 * blocks), s3 = s0 + (t3 * blocks);
        Vector256<float> f00 = default, f01 = default, f02 = default, f03 = default, f10 = default, f11 = default, f12 = default, f13 = default;
        for (nint b = 0; b < blocks; b++)
        {
            if (ahead != 0)
            {
                Prefetch.Ahead(group0, PackedQuantizedRows.BlockBytes<TLayout, TFormat>(), ahead);
            }

            Vector256<int> a00 = TDot.Start(s0[b], TFormat.Bias), a01 = TDot.Start(s1[b], TFormat.Bias);
            Vector256<int> a02 = TDot.Start(s2[b], TFormat.Bias), a03 = TDot.Start(s3[b], TFormat.Bias);
            Vector256<int> a10 = a00, a11 = a01, a12 = a02, a13 = a03;
            Step(group0, 0, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 1, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 2, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 3, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 4, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 5, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 6, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 7, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);

            ushort* scales = PackedQuantizedRows.Scales<TLayout>(group0);
            Vector256<float> w0 = FloatLanes256.LoadHalf(scales), w1 = FloatLanes256.LoadHalf(scales + HalfRows);
            f00 = Scale(a00, w0, d0[b], f00);
            f01 = Scale(a01, w0, d1[b], f01);
            f02 = Scale(a02, w0, d2[b], f02);
            f03 = Scale(a03, w0, d3[b], f03);
            f10 = Scale(a10, w1, d0[b], f10);
            f11 = Scale(a11, w1, d1[b], f11);
            f12 = Scale(a12, w1, d2[b], f12);
            f13 = Scale(a13, w1, d3[b], f13);
            if (TFormat.HasMinimum)
            {
                ushort* minima = PackedQuantizedRows.Minima<TLayout>(group0);
                Vector256<float> m0 = FloatLanes256.LoadHalf(minima), m1 = FloatLanes256.LoadHalf(minima + HalfRows);
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
            x0 += BlockColumns;
            x1 += BlockColumns;
            x2 += BlockColumns;
            x3 += BlockColumns;
        }

        Store(y, f00, f10);
        Store(y + (t1 * yStride), f01, f11);
        Store(y + (t2 * yStride), f02, f12);
        Store(y + (t3 * yStride), f03, f13);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunOne(byte* group, int columns, QuantizedActivations x, float* y)
    {
        int blocks = columns / BlockColumns;
        sbyte* x0 = x.Quants;
        Vector256<float> f0 = default, f1 = default;
        for (nint b = 0; b < blocks; b++)
        {
            Prefetch.Ahead(group, PackedQuantizedRows.BlockBytes<TLayout, TFormat>());
            Vector256<int> a0 = TDot.Start(x.Sums[b], TFormat.Bias), a1 = a0;
            Step(group, 0, x0, ref a0, ref a1);
            Step(group, 1, x0, ref a0, ref a1);
            Step(group, 2, x0, ref a0, ref a1);
            Step(group, 3, x0, ref a0, ref a1);
            Step(group, 4, x0, ref a0, ref a1);
            Step(group, 5, x0, ref a0, ref a1);
            Step(group, 6, x0, ref a0, ref a1);
            Step(group, 7, x0, ref a0, ref a1);

            float d = x.Scales[b];
            ushort* scales = PackedQuantizedRows.Scales<TLayout>(group);
            f0 = Scale(a0, FloatLanes256.LoadHalf(scales), d, f0);
            f1 = Scale(a1, FloatLanes256.LoadHalf(scales + HalfRows), d, f1);
            if (TFormat.HasMinimum)
            {
                ushort* minima = PackedQuantizedRows.Minima<TLayout>(group);
                f0 = Shift(FloatLanes256.LoadHalf(minima), d * x.Sums[b], f0);
                f1 = Shift(FloatLanes256.LoadHalf(minima + HalfRows), d * x.Sums[b], f1);
            }

            group += PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
            x0 += BlockColumns;
        }

        Store(y, f0, f1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step(
        byte* group, int step, sbyte* x0, sbyte* x1, sbyte* x2, sbyte* x3,
        ref Vector256<int> a00, ref Vector256<int> a01, ref Vector256<int> a02, ref Vector256<int> a03,
        ref Vector256<int> a10, ref Vector256<int> a11, ref Vector256<int> a12, ref Vector256<int> a13)
    {
        Vector256<byte> w0 = TLayout.Load256(group, step), w1 = TLayout.Load256(group + HalfLine, step);
        Vector256<sbyte> v = Four(x0, step);
        a00 = TDot.Add(a00, w0, v);
        a10 = TDot.Add(a10, w1, v);
        v = Four(x1, step);
        a01 = TDot.Add(a01, w0, v);
        a11 = TDot.Add(a11, w1, v);
        v = Four(x2, step);
        a02 = TDot.Add(a02, w0, v);
        a12 = TDot.Add(a12, w1, v);
        v = Four(x3, step);
        a03 = TDot.Add(a03, w0, v);
        a13 = TDot.Add(a13, w1, v);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step(byte* group, int step, sbyte* x, ref Vector256<int> a0, ref Vector256<int> a1)
    {
        Vector256<sbyte> v = Four(x, step);
        a0 = TDot.Add(a0, TLayout.Load256(group, step), v);
        a1 = TDot.Add(a1, TLayout.Load256(group + HalfLine, step), v);
    }

    // Four neighbouring activations in every lane: they meet four neighbouring columns of each row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<sbyte> Four(sbyte* x, int step) => Vector256.Create(((int*)x)[step]).AsSByte();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Scale(Vector256<int> dot, Vector256<float> weightScale, float activationScale, Vector256<float> sum) =>
        FloatLanes256.MultiplyAdd(Vector256.ConvertToSingle(dot), weightScale * Vector256.Create(activationScale), sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Shift(Vector256<float> minimum, float activationSum, Vector256<float> sum) =>
        FloatLanes256.MultiplyAdd(minimum, Vector256.Create(activationSum), sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(float* y, Vector256<float> first, Vector256<float> second)
    {
        first.Store(y);
        second.Store(y + HalfRows);
    }
}
