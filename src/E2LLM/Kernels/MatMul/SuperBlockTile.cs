using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// The inner loops of products of K types, eight rows in lanes: <c>y[t][r] = sum over super-blocks b ascending of
/// d[r][b] * xScale[t][b] * (exact integer sum of scale * dot) - dMin[r][b] * xScale[t][b] * (exact integer sum of minimum * xSum)</c>.
/// </summary>
/// <remarks>
/// Shapes: packed groups (<see cref="PackedSuperBlockRows"/>); activations as <see cref="Quantization.QuantizeActivations256"/> leaves them. Numerics: integers are
/// exact and fit (at most 2^28); per output one float accumulator, super-blocks ascending, one multiply-add each, two with minima: the same bits in
/// <see cref="Run2x4"/> and <see cref="Run1x1"/>. A missing token or group is passed as a copy of the first one, as in <see cref="FloatTile"/>.
/// </remarks>
internal static unsafe class SuperBlockTile
{
    private const int BlockColumns = PackedSuperBlockRows.BlockColumns;

    // As in QuantizedTile.
    private const int PrefetchBytes = 2048;

    /// <summary>Two groups and up to four tokens.</summary>
    /// <param name="group0">First packed group.</param>
    /// <param name="group1">Second packed group, or the first again.</param>
    /// <param name="columns">Columns, a multiple of 256.</param>
    /// <param name="x">Quantised activations of the first token.</param>
    /// <param name="tokenCount">1 to 4.</param>
    /// <param name="y">Output of the first row and token.</param>
    /// <param name="yStride">Elements from token to token.</param>
    /// <param name="secondGroup">Elements from an output of the first group to that of the second; 0 where there is none.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Run2x4<TLayout, TFormat, TDot>(
        byte* group0, byte* group1, int columns, SuperBlockActivations x, int tokenCount, float* y, nint yStride, nint secondGroup)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
        where TDot : IIntegerDot
    {
        nint t1 = tokenCount > 1 ? 1 : 0, t2 = tokenCount > 2 ? 2 : 0, t3 = tokenCount > 3 ? 3 : 0;
        int blocks = columns / BlockColumns;
        sbyte* x0 = x.Quants, x1 = x0 + (t1 * columns), x2 = x0 + (t2 * columns), x3 = x0 + (t3 * columns);
        short* s0 = x.Sums, s1 = s0 + (t1 * (columns / 16)), s2 = s0 + (t2 * (columns / 16)), s3 = s0 + (t3 * (columns / 16));
        Vector256<float> f00 = default, f01 = default, f02 = default, f03 = default, f10 = default, f11 = default, f12 = default, f13 = default;
        for (nint block = 0; block < blocks; block++)
        {
            Vector256<int> n00 = default, n01 = default, n02 = default, n03 = default, n10 = default, n11 = default, n12 = default, n13 = default;
            byte* quants0 = group0, quants1 = group1;

            // A half is 16 columns. Where 32 share a scale, the sums of the first half run on into the second and are scaled there.
            Vector256<int> a00 = default, a01 = default, a02 = default, a03 = default, a10 = default, a11 = default, a12 = default, a13 = default;
            for (nint half = 0; half < 2 * PackedSuperBlockRows.SubBlocks; half++)
            {
                bool isHigh = (half & 1) != 0;
                if (!isHigh || TFormat.ScalesPerSubBlock == 2)
                {
                    a00 = TDot.Start(s0[half], TFormat.Bias);
                    a01 = TDot.Start(s1[half], TFormat.Bias);
                    a02 = TDot.Start(s2[half], TFormat.Bias);
                    a03 = TDot.Start(s3[half], TFormat.Bias);
                    (a10, a11, a12, a13) = (a00, a01, a02, a03);
                }

                for (int step = 0; step < 4; step++)
                {
                    Vector256<byte> w0 = isHigh ? TLayout.LoadHigh(quants0, step) : TLayout.LoadLow(quants0, step);
                    Vector256<byte> w1 = isHigh ? TLayout.LoadHigh(quants1, step) : TLayout.LoadLow(quants1, step);
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

                x0 += 16;
                x1 += 16;
                x2 += 16;
                x3 += 16;
                if (isHigh || TFormat.ScalesPerSubBlock == 2)
                {
                    Vector256<int> scale0 = Scale<TLayout, TFormat>(group0, half), scale1 = Scale<TLayout, TFormat>(group1, half);
                    n00 += a00 * scale0;
                    n01 += a01 * scale0;
                    n02 += a02 * scale0;
                    n03 += a03 * scale0;
                    n10 += a10 * scale1;
                    n11 += a11 * scale1;
                    n12 += a12 * scale1;
                    n13 += a13 * scale1;
                }

                if (isHigh)
                {
                    quants0 += TLayout.QuantBytes;
                    quants1 += TLayout.QuantBytes;
                }
            }

            float d0 = x.Scales[block], d1 = x.Scales[(t1 * blocks) + block], d2 = x.Scales[(t2 * blocks) + block], d3 = x.Scales[(t3 * blocks) + block];
            f00 = Fold<TLayout, TFormat, TDot>(group0, n00, s0, d0, f00);
            f01 = Fold<TLayout, TFormat, TDot>(group0, n01, s1, d1, f01);
            f02 = Fold<TLayout, TFormat, TDot>(group0, n02, s2, d2, f02);
            f03 = Fold<TLayout, TFormat, TDot>(group0, n03, s3, d3, f03);
            f10 = Fold<TLayout, TFormat, TDot>(group1, n10, s0, d0, f10);
            f11 = Fold<TLayout, TFormat, TDot>(group1, n11, s1, d1, f11);
            f12 = Fold<TLayout, TFormat, TDot>(group1, n12, s2, d2, f12);
            f13 = Fold<TLayout, TFormat, TDot>(group1, n13, s3, d3, f13);
            group0 += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>();
            group1 += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>();
            s0 += 16;
            s1 += 16;
            s2 += 16;
            s3 += 16;
        }

        Store(y, secondGroup, f00, f10);
        Store(y + (t1 * yStride), secondGroup, f01, f11);
        Store(y + (t2 * yStride), secondGroup, f02, f12);
        Store(y + (t3 * yStride), secondGroup, f03, f13);
    }

    /// <summary>One group and one token, streaming the weights.</summary>
    /// <inheritdoc cref="Run2x4"/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Run1x1<TLayout, TFormat, TDot>(byte* group0, int columns, SuperBlockActivations x, float* y)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
        where TDot : IIntegerDot
    {
        Vector256<float> f = default;
        sbyte* x0 = x.Quants;
        short* sums = x.Sums;
        for (nint block = 0; block < columns / BlockColumns; block++)
        {
            Vector256<int> n = default;
            byte* quants = group0;
            for (nint half = 0; half < 2 * PackedSuperBlockRows.SubBlocks; half += 2)
            {
                Prefetch.Line(quants + PrefetchBytes);
                Prefetch.Line(quants + PrefetchBytes + 64);
                Vector256<int> a = TDot.Start(sums[half], TFormat.Bias), b = TDot.Start(sums[half + 1], TFormat.Bias);
                for (int step = 0; step < 4; step++)
                {
                    a = TDot.Add(a, TLayout.LoadLow(quants, step), Four(x0, step));
                    b = TDot.Add(b, TLayout.LoadHigh(quants, step), Four(x0, step + 4));
                }

                n += TFormat.ScalesPerSubBlock == 1
                    ? (a + b) * Scale<TLayout, TFormat>(group0, half)
                    : (a * Scale<TLayout, TFormat>(group0, half)) + (b * Scale<TLayout, TFormat>(group0, half + 1));
                quants += TLayout.QuantBytes;
                x0 += 32;
            }

            f = Fold<TLayout, TFormat, TDot>(group0, n, sums, x.Scales[block], f);
            group0 += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>();
            sums += 16;
        }

        f.Store(y);
    }

    // Four neighbouring activations in every lane: they meet four neighbouring columns of each row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<sbyte> Four(sbyte* x, int step) => Vector256.Create(((int*)x)[step]).AsSByte();

    // The scale of the 16 columns of one half.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Scale<TLayout, TFormat>(byte* group, nint half)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
    {
        nint index = TFormat.ScalesPerSubBlock == 1 ? half / 2 : half;
        Vector128<sbyte> bytes = Vector128.CreateScalarUnsafe(*(long*)(group + PackedSuperBlockRows.ScalesOffset<TLayout>() + (index * 8))).AsSByte();
        return Vector256.WidenLower(Vector128.WidenLower(bytes).ToVector256Unsafe());
    }

    // Adds a finished super-block to an output's sum.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Fold<TLayout, TFormat, TDot>(byte* group, Vector256<int> scaled, short* sums, float activationScale, Vector256<float> sum)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
        where TDot : IIntegerDot
    {
        ushort* factors = (ushort*)(group + PackedSuperBlockRows.FactorsOffset<TLayout, TFormat>());
        Vector256<float> x = Vector256.Create(activationScale);
        sum = FloatLanes256.MultiplyAdd(Vector256.ConvertToSingle(scaled), FloatLanes256.LoadHalf(factors) * x, sum);
        return TFormat.HasMinima
            ? FloatLanes256.MultiplyAdd(Vector256.ConvertToSingle(-Minima<TLayout, TFormat, TDot>(group, sums)), FloatLanes256.LoadHalf(factors + 8) * x, sum)
            : sum;
    }

    // Sum over sub-blocks of minimum * (sum of the first 16 activations + sum of the second): two 16-bit products at once.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Minima<TLayout, TFormat, TDot>(byte* group, short* sums)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
        where TDot : IIntegerDot
    {
        byte* minima = group + PackedSuperBlockRows.MinimaOffset<TLayout, TFormat>();
        Vector256<int> result = default;
        for (int sub = 0; sub < PackedSuperBlockRows.SubBlocks; sub++)
        {
            Vector128<byte> bytes = Vector128.CreateScalarUnsafe(((long*)minima)[sub]).AsByte();
            Vector256<uint> wide = Vector256.WidenLower(Vector128.WidenLower(bytes).ToVector256Unsafe());
            result = TDot.AddPairs(result, (wide | (wide << 16)).AsInt16(), Vector256.Create(((int*)sums)[sub]).AsInt16());
        }

        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(float* y, nint secondGroup, Vector256<float> first, Vector256<float> second)
    {
        first.Store(y);
        second.Store(y + secondGroup);
    }
}
