using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// The inner loops of products of K types, eight rows in lanes: <c>y[t][r] = sum over super-blocks b ascending of
/// d[r][b] * xScale[t][b] * (exact integer sum of scale * dot) - dMin[r][b] * xScale[t][b] * (exact integer sum of minimum * xSum)</c>.
/// </summary>
/// <remarks>
/// Shapes: one packed group (<see cref="PackedSuperBlockRows"/>); activations as <see cref="Quantization.QuantizeActivations256"/> leaves them. Numerics: integers are
/// exact and fit (at most 2^28); per output one float accumulator, super-blocks ascending, one multiply-add each, two with minima: the same bits in
/// <see cref="Run1x4"/> and <see cref="Run1x1"/>. A missing token is passed as a copy of the first, as in <see cref="FloatTile"/>.
/// </remarks>
internal static unsafe class SuperBlockTile
{
    private const int BlockColumns = PackedSuperBlockRows.BlockColumns;

    /// <summary>One group and up to four tokens.</summary>
    /// <param name="group">The packed group.</param>
    /// <param name="columns">Columns, a multiple of 256.</param>
    /// <param name="x">Quantised activations of the first token.</param>
    /// <param name="tokenCount">1 to 4.</param>
    /// <param name="y">Output of the first row and token.</param>
    /// <param name="yStride">Elements from token to token.</param>
    internal static void Run1x4<TLayout, TFormat, TDot>(byte* group, int columns, SuperBlockActivations x, int tokenCount, float* y, nint yStride)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
        where TDot : IIntegerDot
    {
        nint t1 = tokenCount > 1 ? 1 : 0, t2 = tokenCount > 2 ? 2 : 0, t3 = tokenCount > 3 ? 3 : 0;
        SuperBlockActivations x1 = x.From(t1, columns), x2 = x.From(t2, columns), x3 = x.From(t3, columns);
        Vector256<float> f0 = default, f1 = default, f2 = default, f3 = default;
        for (nint block = 0; block < columns / BlockColumns; block++, group += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>())
        {
            Vector256<int> n0 = default, n1 = default, n2 = default, n3 = default, m0 = default, m1 = default, m2 = default, m3 = default;
            for (nint sub = 0; sub < PackedSuperBlockRows.SubBlocks; sub++)
            {
                nint part = (block * PackedSuperBlockRows.SubBlocks) + sub;
                byte* quants = group + (sub * TLayout.QuantBytes);
                Vector256<int> low = Scale<TLayout, TFormat>(group, sub, 0), high = Scale<TLayout, TFormat>(group, sub, 1);
                n0 += SubBlock<TLayout, TFormat, TDot>(quants, x, part, low, high);
                n1 += SubBlock<TLayout, TFormat, TDot>(quants, x1, part, low, high);
                n2 += SubBlock<TLayout, TFormat, TDot>(quants, x2, part, low, high);
                n3 += SubBlock<TLayout, TFormat, TDot>(quants, x3, part, low, high);
                if (TFormat.HasMinima)
                {
                    Vector256<int> minimum = Minimum<TLayout, TFormat>(group, sub);
                    m0 += minimum * Vector256.Create(Sum32(x, part));
                    m1 += minimum * Vector256.Create(Sum32(x1, part));
                    m2 += minimum * Vector256.Create(Sum32(x2, part));
                    m3 += minimum * Vector256.Create(Sum32(x3, part));
                }
            }

            f0 = Fold<TLayout, TFormat>(group, n0, m0, x.Scales[block], f0);
            f1 = Fold<TLayout, TFormat>(group, n1, m1, x1.Scales[block], f1);
            f2 = Fold<TLayout, TFormat>(group, n2, m2, x2.Scales[block], f2);
            f3 = Fold<TLayout, TFormat>(group, n3, m3, x3.Scales[block], f3);
        }

        f0.Store(y);
        f1.Store(y + (t1 * yStride));
        f2.Store(y + (t2 * yStride));
        f3.Store(y + (t3 * yStride));
    }

    /// <summary>One group and one token.</summary>
    /// <inheritdoc cref="Run1x4"/>
    internal static void Run1x1<TLayout, TFormat, TDot>(byte* group, int columns, SuperBlockActivations x, float* y)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
        where TDot : IIntegerDot
    {
        Vector256<float> f = default;
        for (nint block = 0; block < columns / BlockColumns; block++, group += PackedSuperBlockRows.BlockBytes<TLayout, TFormat>())
        {
            Vector256<int> n = default, m = default;
            for (nint sub = 0; sub < PackedSuperBlockRows.SubBlocks; sub++)
            {
                nint part = (block * PackedSuperBlockRows.SubBlocks) + sub;
                n += SubBlock<TLayout, TFormat, TDot>(
                    group + (sub * TLayout.QuantBytes), x, part, Scale<TLayout, TFormat>(group, sub, 0), Scale<TLayout, TFormat>(group, sub, 1));
                if (TFormat.HasMinima)
                {
                    m += Minimum<TLayout, TFormat>(group, sub) * Vector256.Create(Sum32(x, part));
                }
            }

            f = Fold<TLayout, TFormat>(group, n, m, x.Scales[block], f);
        }

        f.Store(y);
    }

    // Sum of scale * dot over one sub-block of 32 columns, which has one scale or one for each half.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> SubBlock<TLayout, TFormat, TDot>(byte* quants, SuperBlockActivations x, nint part, Vector256<int> low, Vector256<int> high)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
        where TDot : IIntegerDot
    {
        sbyte* activations = x.Quants + (part * 32);
        Vector256<int> a = TDot.Start(x.Sums[part * 2], TFormat.Bias), b = TDot.Start(x.Sums[(part * 2) + 1], TFormat.Bias);
        for (int step = 0; step < 4; step++)
        {
            a = TDot.Add(a, TLayout.LoadLow(quants, step), Vector256.Create(((int*)activations)[step]).AsSByte());
            b = TDot.Add(b, TLayout.LoadHigh(quants, step), Vector256.Create(((int*)activations)[step + 4]).AsSByte());
        }

        return TFormat.ScalesPerSubBlock == 1 ? (a + b) * low : (a * low) + (b * high);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Scale<TLayout, TFormat>(byte* group, nint sub, int half)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
    {
        nint index = TFormat.ScalesPerSubBlock == 1 ? sub : (2 * sub) + half;
        Vector128<sbyte> bytes = Vector128.CreateScalarUnsafe(*(long*)(group + PackedSuperBlockRows.ScalesOffset<TLayout>() + (index * 8))).AsSByte();
        return Vector256.WidenLower(Vector128.WidenLower(bytes).ToVector256Unsafe());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Minimum<TLayout, TFormat>(byte* group, nint sub)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
    {
        Vector128<byte> bytes = Vector128.CreateScalarUnsafe(*(long*)(group + PackedSuperBlockRows.MinimaOffset<TLayout, TFormat>() + (sub * 8))).AsByte();
        return Vector256.WidenLower(Vector128.WidenLower(bytes).ToVector256Unsafe()).AsInt32();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Sum32(SuperBlockActivations x, nint part) => x.Sums[part * 2] + x.Sums[(part * 2) + 1];

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Fold<TLayout, TFormat>(byte* group, Vector256<int> scaled, Vector256<int> minima, float activationScale, Vector256<float> sum)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
    {
        ushort* factors = (ushort*)(group + PackedSuperBlockRows.FactorsOffset<TLayout, TFormat>());
        Vector256<float> x = Vector256.Create(activationScale);
        sum = FloatLanes256.MultiplyAdd(Vector256.ConvertToSingle(scaled), FloatLanes256.LoadHalf(factors) * x, sum);
        return TFormat.HasMinima
            ? FloatLanes256.MultiplyAdd(Vector256.ConvertToSingle(-minima), FloatLanes256.LoadHalf(factors + 8) * x, sum)
            : sum;
    }
}
