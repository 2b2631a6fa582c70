using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// The inner loops of products of block-quantised weights, eight rows in lanes:
/// <c>y[t][r] = sum over blocks b ascending of scale[r][b] * xScale[t][b] * (exact integer dot product of block b) (+ minimum[r][b] * xScale[t][b] * xSum[t][b])</c>.
/// </summary>
/// <remarks>
/// Shapes: two packed groups (<see cref="PackedQuantizedRows"/>); activations as <see cref="Quantization.QuantizeActivations"/> leaves them, one token after another.
/// Numerics: per output one float accumulator, blocks ascending, one multiply-add a block (two where the format has a minimum): the same
/// bits in <see cref="Run2x4"/> and <see cref="Run2x1"/>. A missing token or group is passed as a copy of the first one, as in <see cref="FloatTile"/>.
/// </remarks>
internal static unsafe class QuantizedTile
{
    private const int BlockColumns = PackedQuantizedRows.BlockColumns;
    private const int GroupRows = PackedQuantizedRows.GroupRows;

    // How far ahead of the loads a line is asked for: the hardware's own prefetch stops at each page.
    private const int PrefetchBytes = 2048;

    /// <summary>Two groups and up to four tokens.</summary>
    /// <param name="group0">First packed group.</param>
    /// <param name="group1">Second packed group, or the first again.</param>
    /// <param name="columns">Columns, a multiple of 32.</param>
    /// <param name="x">Quantised activations of the first token.</param>
    /// <param name="tokenCount">1 to 4.</param>
    /// <param name="y">Output of the first row and token.</param>
    /// <param name="yStride">Elements from token to token.</param>
    /// <param name="secondGroup">Elements from an output of the first group to that of the second; 0 where there is none.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Run2x4<TLayout, TFormat, TDot>(
        byte* group0, byte* group1, int columns, QuantizedActivations x, int tokenCount, float* y, nint yStride, nint secondGroup)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
        where TDot : IIntegerDot
    {
        int blocks = columns / BlockColumns;
        nint t1 = tokenCount > 1 ? 1 : 0, t2 = tokenCount > 2 ? 2 : 0, t3 = tokenCount > 3 ? 3 : 0;
        ushort* scales0 = PackedQuantizedRows.Scales<TLayout>(group0, columns), scales1 = PackedQuantizedRows.Scales<TLayout>(group1, columns);
        sbyte* x0 = x.Quants, x1 = x0 + (t1 * columns), x2 = x0 + (t2 * columns), x3 = x0 + (t3 * columns);
        float* d0 = x.Scales, d1 = d0 + (t1 * blocks), d2 = d0 + (t2 * blocks), d3 = d0 + (t3 * blocks);
        int* s0 = x.Sums, s1 = s0 + (t1 * blocks), s2 = s0 + (t2 * blocks), s3 = s0 + (t3 * blocks);
        Vector256<float> f00 = default, f01 = default, f02 = default, f03 = default, f10 = default, f11 = default, f12 = default, f13 = default;
        for (nint b = 0; b < blocks; b++)
        {
            Vector256<int> a00 = TDot.Start(s0[b], TFormat.Bias), a01 = TDot.Start(s1[b], TFormat.Bias);
            Vector256<int> a02 = TDot.Start(s2[b], TFormat.Bias), a03 = TDot.Start(s3[b], TFormat.Bias);
            Vector256<int> a10 = a00, a11 = a01, a12 = a02, a13 = a03;
            for (int step = 0; step < 4; step++)
            {
                Vector256<byte> w0 = TLayout.LoadLow(group0, step), w1 = TLayout.LoadLow(group1, step);
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
                w0 = TLayout.LoadHigh(group0, step);
                w1 = TLayout.LoadHigh(group1, step);
                v = Four(x0, step + 4);
                a00 = TDot.Add(a00, w0, v);
                a10 = TDot.Add(a10, w1, v);
                v = Four(x1, step + 4);
                a01 = TDot.Add(a01, w0, v);
                a11 = TDot.Add(a11, w1, v);
                v = Four(x2, step + 4);
                a02 = TDot.Add(a02, w0, v);
                a12 = TDot.Add(a12, w1, v);
                v = Four(x3, step + 4);
                a03 = TDot.Add(a03, w0, v);
                a13 = TDot.Add(a13, w1, v);
            }

            Vector256<float> w = FloatLanes256.LoadHalf(scales0 + (b * GroupRows));
            f00 = Scale(a00, w, d0[b], f00);
            f01 = Scale(a01, w, d1[b], f01);
            f02 = Scale(a02, w, d2[b], f02);
            f03 = Scale(a03, w, d3[b], f03);
            w = FloatLanes256.LoadHalf(scales1 + (b * GroupRows));
            f10 = Scale(a10, w, d0[b], f10);
            f11 = Scale(a11, w, d1[b], f11);
            f12 = Scale(a12, w, d2[b], f12);
            f13 = Scale(a13, w, d3[b], f13);
            if (TFormat.HasMinimum)
            {
                Vector256<float> m0 = FloatLanes256.LoadHalf(PackedQuantizedRows.Minima(scales0, blocks) + (b * GroupRows));
                Vector256<float> m1 = FloatLanes256.LoadHalf(PackedQuantizedRows.Minima(scales1, blocks) + (b * GroupRows));
                f00 = Shift(m0, d0[b] * s0[b], f00);
                f01 = Shift(m0, d1[b] * s1[b], f01);
                f02 = Shift(m0, d2[b] * s2[b], f02);
                f03 = Shift(m0, d3[b] * s3[b], f03);
                f10 = Shift(m1, d0[b] * s0[b], f10);
                f11 = Shift(m1, d1[b] * s1[b], f11);
                f12 = Shift(m1, d2[b] * s2[b], f12);
                f13 = Shift(m1, d3[b] * s3[b], f13);
            }

            group0 += TLayout.QuantBytes;
            group1 += TLayout.QuantBytes;
            x0 += BlockColumns;
            x1 += BlockColumns;
            x2 += BlockColumns;
            x3 += BlockColumns;
        }

        Store(y, secondGroup, f00, f10);
        Store(y + (t1 * yStride), secondGroup, f01, f11);
        Store(y + (t2 * yStride), secondGroup, f02, f12);
        Store(y + (t3 * yStride), secondGroup, f03, f13);
    }

    /// <summary>Two groups and one token, streaming the weights.</summary>
    /// <inheritdoc cref="Run2x4"/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Run2x1<TLayout, TFormat, TDot>(byte* group0, byte* group1, int columns, QuantizedActivations x, float* y, nint secondGroup)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
        where TDot : IIntegerDot
    {
        int blocks = columns / BlockColumns;
        ushort* scales0 = PackedQuantizedRows.Scales<TLayout>(group0, columns), scales1 = PackedQuantizedRows.Scales<TLayout>(group1, columns);
        sbyte* x0 = x.Quants;
        Vector256<float> f0 = default, f1 = default;
        for (nint b = 0; b < blocks; b++)
        {
            for (int line = 0; line < TLayout.QuantBytes; line += 64)
            {
                Prefetch.Line(group0 + PrefetchBytes + line);
                Prefetch.Line(group1 + PrefetchBytes + line);
            }

            Vector256<int> a0 = TDot.Start(x.Sums[b], TFormat.Bias), a1 = a0;
            for (int step = 0; step < 4; step++)
            {
                Vector256<sbyte> v = Four(x0, step);
                a0 = TDot.Add(a0, TLayout.LoadLow(group0, step), v);
                a1 = TDot.Add(a1, TLayout.LoadLow(group1, step), v);
                v = Four(x0, step + 4);
                a0 = TDot.Add(a0, TLayout.LoadHigh(group0, step), v);
                a1 = TDot.Add(a1, TLayout.LoadHigh(group1, step), v);
            }

            float d = x.Scales[b];
            f0 = Scale(a0, FloatLanes256.LoadHalf(scales0 + (b * GroupRows)), d, f0);
            f1 = Scale(a1, FloatLanes256.LoadHalf(scales1 + (b * GroupRows)), d, f1);
            if (TFormat.HasMinimum)
            {
                f0 = Shift(FloatLanes256.LoadHalf(PackedQuantizedRows.Minima(scales0, blocks) + (b * GroupRows)), d * x.Sums[b], f0);
                f1 = Shift(FloatLanes256.LoadHalf(PackedQuantizedRows.Minima(scales1, blocks) + (b * GroupRows)), d * x.Sums[b], f1);
            }

            group0 += TLayout.QuantBytes;
            group1 += TLayout.QuantBytes;
            x0 += BlockColumns;
        }

        Store(y, secondGroup, f0, f1);
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
    private static void Store(float* y, nint secondGroup, Vector256<float> first, Vector256<float> second)
    {
        first.Store(y);
        second.Store(y + secondGroup);
    }
}
