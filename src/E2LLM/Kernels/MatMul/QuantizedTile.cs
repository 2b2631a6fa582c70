using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// The inner loops of products of weights with one scale per 32 columns, two vectors of eight rows in lanes:
/// <c>y[t][r] = sum over blocks b ascending of (exact integer dot product of block b) * scale[r][b] * xScale[t][b] (+ minimum[r][b] * xScale[t][b] * xSum[t][b])</c>.
/// </summary>
/// <remarks>
/// Shapes: packed groups (<see cref="PackedQuantizedRows"/>); activations as <see cref="Quantization.QuantizeActivations"/> leaves them, one token after another.
/// Numerics: per output one float accumulator, blocks ascending, the dot product times the weights' scale rounded once, then one multiply-add a block (two where the format has a minimum): the same
/// bits in <see cref="RunFour"/> and <see cref="RunOne"/>.
/// </remarks>
internal readonly unsafe struct QuantizedTile<TLayout, TFormat, TDot> : IRowTile<QuantizedActivations>
    where TLayout : IQuantLayout
    where TFormat : IQuantizedFormat<TLayout>
    where TDot : IIntegerDot
{
    private const int BlockColumns = PackedQuantizedRows.BlockColumns;

    // Rows 8 to 15: their place among scales and outputs.
    private const int HalfRows = PackedQuantizedRows.GroupRows / 2;

    public static int Groups => 1;

    public static long GroupBytes(int columns) => PackedQuantizedRows.GroupBytes<TLayout, TFormat>(columns);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunFour(
        byte* group0, byte* group1, int columns, QuantizedActivations x, int tokenCount, float* y, nint yStride, nint secondGroup, nint ahead)
    {
        int blocks = columns / BlockColumns;
        TokenRows.Four(x.Quants, columns, tokenCount, out sbyte* x0, out sbyte* x1, out sbyte* x2, out sbyte* x3);
        TokenRows.Four(x.Scales, blocks, tokenCount, out float* d0, out float* d1, out float* d2, out float* d3);
        TokenRows.Four(x.Sums, blocks, tokenCount, out int* s0, out int* s1, out int* s2, out int* s3);
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
            HalfLineDot<TLayout, TDot>.Add(group0, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);

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

        TokenRows.Four(y, yStride, tokenCount, out float* y0, out float* y1, out float* y2, out float* y3);
        Store(y0, f00, f10);
        Store(y1, f01, f11);
        Store(y2, f02, f12);
        Store(y3, f03, f13);
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
            HalfLineDot<TLayout, TDot>.Add(group, x0, ref a0, ref a1);

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
    private static Vector256<float> Scale(Vector256<int> dot, Vector256<float> weightScale, float activationScale, Vector256<float> sum) =>
        FloatLanes256.MultiplyAdd(Vector256.ConvertToSingle(dot) * weightScale, Vector256.Create(activationScale), sum);

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
