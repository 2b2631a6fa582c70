using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// The inner loops of products of K types, two vectors of eight rows in lanes: <c>y[t][r] = sum over super-blocks b ascending of
/// d[r][b] * xScale[t][b] * (exact integer sum of scale * dot) - dMin[r][b] * xScale[t][b] * (exact integer sum of minimum * xSum)</c>.
/// </summary>
/// <remarks>
/// Shapes: packed groups (<see cref="PackedSuperBlockRows"/>); activations as <see cref="Quantization.QuantizeActivations256"/> leaves them. Numerics: integers are
/// exact and fit (at most 2^28); per output one float accumulator, super-blocks ascending, one multiply-add each, two with minima: the same bits in
/// <see cref="RunFour"/> and <see cref="RunOne"/>.
/// </remarks>
internal readonly unsafe struct SuperBlockTile<TLayout, TFormat, TDot> : IRowTile<SuperBlockActivations>
    where TLayout : IQuantLayout
    where TFormat : ISuperBlockFormat<TLayout>
    where TDot : IIntegerDot
{
    private const int BlockColumns = PackedSuperBlockRows.BlockColumns;

    // Rows 8 to 15: their bytes in a line, their place among scales and outputs.
    private const int HalfLine = 32;
    private const int HalfRows = PackedQuantizedRows.GroupRows / 2;

    public static int Groups => 1;

    public static long GroupBytes(int columns) => PackedSuperBlockRows.GroupBytes<TLayout, TFormat>(columns);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunFour(
        byte* group0, byte* group1, int columns, SuperBlockActivations x, int tokenCount, float* y, nint yStride, nint secondGroup, nint ahead)
    {
        int blocks = columns / BlockColumns;
        TokenRows.Four(x.Quants, columns, tokenCount, out sbyte* x0, out sbyte* x1, out sbyte* x2, out sbyte* x3);
        TokenRows.Four(x.Scales, blocks, tokenCount, out float* scales0, out float* scales1, out float* scales2, out float* scales3);
        TokenRows.Four(x.Sums, columns / 16, tokenCount, out short* s0, out short* s1, out short* s2, out short* s3);
        Vector256<float> f00 = default, f01 = default, f02 = default, f03 = default, f10 = default, f11 = default, f12 = default, f13 = default;
        for (nint block = 0; block < blocks; block++)
        {
            Vector256<int> n00 = default, n01 = default, n02 = default, n03 = default, n10 = default, n11 = default, n12 = default, n13 = default;
            if (ahead != 0)
            {
                Prefetch.Ahead(group0, PackedSuperBlockRows.BlockBytes<TLayout, TFormat>(), ahead);
            }

            byte* quants = group0;

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
                    int inBlock = isHigh ? step + 4 : step;
                    Vector256<byte> w0 = TLayout.Load256(quants, inBlock), w1 = TLayout.Load256(quants + HalfLine, inBlock);
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
                    Vector256<int> scale0 = Scale(group0, half, 0), scale1 = Scale(group0, half, HalfRows);
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
                    quants += TLayout.QuantBytes;
                }
            }

            float d0 = scales0[block], d1 = scales1[block], d2 = scales2[block], d3 = scales3[block];
            f00 = Fold(group0, 0, n00, s0, d0, f00);
            f01 = Fold(group0, 0, n01, s1, d1, f01);
            f02 = Fold(group0, 0, n02, s2, d2, f02);
            f03 = Fold(group0, 0, n03, s3, d3, f03);
            f10 = Fold(group0, HalfRows, n10, s0, d0, f10);
            f11 = Fold(group0, HalfRows, n11, s1, d1, f11);
            f12 = Fold(group0, HalfRows, n12, s2, d2, f12);
            f13 = Fold(group0, HalfRows, n13, s3, d3, f13);
            group0 += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>();
            s0 += 16;
            s1 += 16;
            s2 += 16;
            s3 += 16;
        }

        TokenRows.Four(y, yStride, tokenCount, out float* y0, out float* y1, out float* y2, out float* y3);
        Store(y0, f00, f10);
        Store(y1, f01, f11);
        Store(y2, f02, f12);
        Store(y3, f03, f13);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunOne(byte* group, int columns, SuperBlockActivations x, float* y)
    {
        Vector256<float> f0 = default, f1 = default;
        sbyte* x0 = x.Quants;
        short* sums = x.Sums;
        for (nint block = 0; block < columns / BlockColumns; block++)
        {
            Vector256<int> n0 = default, n1 = default;
            byte* quants = group;
            for (nint half = 0; half < 2 * PackedSuperBlockRows.SubBlocks; half += 2)
            {
                Prefetch.Ahead(quants, PackedSuperBlockRows.BlockBytes<TLayout, TFormat>() / PackedSuperBlockRows.SubBlocks);
                n0 += SubBlock(group, quants, half, 0, x0, sums);
                n1 += SubBlock(group, quants + HalfLine, half, HalfRows, x0, sums);
                quants += TLayout.QuantBytes;
                x0 += 32;
            }

            f0 = Fold(group, 0, n0, sums, x.Scales[block], f0);
            f1 = Fold(group, HalfRows, n1, sums, x.Scales[block], f1);
            group += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>();
            sums += 16;
        }

        Store(y, f0, f1);
    }

    // The scaled sum of one sub-block's 32 columns for eight rows from row on.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> SubBlock(byte* group, byte* quants, nint half, int row, sbyte* x, short* sums)
    {
        Vector256<int> a = TDot.Start(sums[half], TFormat.Bias), b = TDot.Start(sums[half + 1], TFormat.Bias);
        for (int step = 0; step < 4; step++)
        {
            a = TDot.Add(a, TLayout.Load256(quants, step), Four(x, step));
            b = TDot.Add(b, TLayout.Load256(quants, step + 4), Four(x, step + 4));
        }

        return TFormat.ScalesPerSubBlock == 1
            ? (a + b) * Scale(group, half, row)
            : (a * Scale(group, half, row)) + (b * Scale(group, half + 1, row));
    }

    // Four neighbouring activations in every lane: they meet four neighbouring columns of each row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<sbyte> Four(sbyte* x, int step) => Vector256.Create(((int*)x)[step]).AsSByte();

    // The scale of the 16 columns of one half, for eight rows from row on.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Scale(byte* group, nint half, int row)
    {
        byte* scales = group + PackedSuperBlockRows.ScalesOffset<TLayout>() + (half / 2 * PackedQuantizedRows.GroupRows * TFormat.ScalesPerSubBlock);
        if (TFormat.ScalesPerSubBlock == 1)
        {
            return Vector256.WidenLower(Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(long*)(scales + row)).AsSByte()).ToVector256Unsafe());
        }

        // Two bytes a row: the wanted one goes to the top of the lane and comes back with its sign.
        Vector256<int> pairs = Vector256.WidenLower(Vector128.Load((short*)scales + row).ToVector256Unsafe());
        return (half & 1) == 0 ? (pairs << 24) >> 24 : pairs >> 8;
    }

    // Adds a finished super-block to an output's sum, for eight rows from row on.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Fold(byte* group, int row, Vector256<int> scaled, short* sums, float activationScale, Vector256<float> sum)
    {
        ushort* factors = (ushort*)(group + PackedSuperBlockRows.FactorsOffset<TLayout, TFormat>()) + row;
        Vector256<float> x = Vector256.Create(activationScale);
        sum = FloatLanes256.MultiplyAdd(Vector256.ConvertToSingle(scaled), FloatLanes256.LoadHalf(factors) * x, sum);
        return TFormat.HasMinima
            ? FloatLanes256.MultiplyAdd(Vector256.ConvertToSingle(-Minima(group, row, sums)), FloatLanes256.LoadHalf(factors + PackedQuantizedRows.GroupRows) * x, sum)
            : sum;
    }

    // Sum over sub-blocks of minimum * (sum of the first 16 activations + sum of the second): two 16-bit products at once.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Minima(byte* group, int row, short* sums)
    {
        byte* minima = group + PackedSuperBlockRows.MinimaOffset<TLayout, TFormat>() + row;
        Vector256<int> result = default;
        for (int sub = 0; sub < PackedSuperBlockRows.SubBlocks; sub++)
        {
            Vector128<byte> bytes = Vector128.CreateScalarUnsafe(*(long*)(minima + (sub * PackedQuantizedRows.GroupRows))).AsByte();
            Vector256<uint> wide = Vector256.WidenLower(Vector128.WidenLower(bytes).ToVector256Unsafe());
            result = TDot.AddPairs(result, (wide | (wide << 16)).AsInt16(), Vector256.Create(((int*)sums)[sub]).AsInt16());
        }

        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(float* y, Vector256<float> first, Vector256<float> second)
    {
        first.Store(y);
        second.Store(y + HalfRows);
    }
}
