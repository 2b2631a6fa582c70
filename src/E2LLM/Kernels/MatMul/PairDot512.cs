using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// Exact sums of products of unsigned weights below 64 and signed activations by AVX-512 BW, sixteen rows in lanes: pairs of products are summed in 16 bits for as many steps as
/// they are sure to fit, and only then widened, times a 16-bit factor of the row. .NET has no 512-bit vpdpbusd; with small weights this does without.
/// </summary>
/// <remarks>A step adds at most <c>2 * 127 * MaxQuant</c> to a 16-bit sum: 15 leaves room for eight steps, 31 for four, 63 for two.</remarks>
internal static unsafe class PairDot512<TLayout>
    where TLayout : IQuantLayout
{
    /// <summary>
    /// <c>n[g][t] += factor[g] * (products of the columns of some steps)</c> for two groups and four tokens.
    /// </summary>
    /// <param name="group0">Quants of 16 rows x 32 columns.</param>
    /// <param name="group1">Those of the second group.</param>
    /// <param name="first">First step: 0 or 4.</param>
    /// <param name="count">Steps: 4, or all 8 where 32 columns share a factor.</param>
    /// <param name="x0">The 32 activations of the first token; the others are further tokens.</param>
    /// <param name="x1">Second token.</param>
    /// <param name="x2">Third token.</param>
    /// <param name="x3">Fourth token.</param>
    /// <param name="factor0">The rows' factors, each twice.</param>
    /// <param name="factor1">Those of the second group.</param>
    /// <param name="n00">Sums of the first group and token; the others are further groups and tokens.</param>
    /// <param name="n01">Sum.</param>
    /// <param name="n02">Sum.</param>
    /// <param name="n03">Sum.</param>
    /// <param name="n10">Sum.</param>
    /// <param name="n11">Sum.</param>
    /// <param name="n12">Sum.</param>
    /// <param name="n13">Sum.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Add(
        byte* group0, byte* group1, int first, int count, sbyte* x0, sbyte* x1, sbyte* x2, sbyte* x3, Vector512<short> factor0, Vector512<short> factor1,
        ref Vector512<int> n00, ref Vector512<int> n01, ref Vector512<int> n02, ref Vector512<int> n03,
        ref Vector512<int> n10, ref Vector512<int> n11, ref Vector512<int> n12, ref Vector512<int> n13)
    {
        Vector512<short> p00 = default, p01 = default, p02 = default, p03 = default, p10 = default, p11 = default, p12 = default, p13 = default;
        Step(group0, group1, first, x0, x1, x2, x3, ref p00, ref p01, ref p02, ref p03, ref p10, ref p11, ref p12, ref p13);
        Step(group0, group1, first + 1, x0, x1, x2, x3, ref p00, ref p01, ref p02, ref p03, ref p10, ref p11, ref p12, ref p13);
        if (TLayout.MaxQuant > 31)
        {
            Widen(factor0, factor1, ref p00, ref p01, ref p02, ref p03, ref p10, ref p11, ref p12, ref p13, ref n00, ref n01, ref n02, ref n03, ref n10, ref n11, ref n12, ref n13);
        }

        Step(group0, group1, first + 2, x0, x1, x2, x3, ref p00, ref p01, ref p02, ref p03, ref p10, ref p11, ref p12, ref p13);
        Step(group0, group1, first + 3, x0, x1, x2, x3, ref p00, ref p01, ref p02, ref p03, ref p10, ref p11, ref p12, ref p13);
        if (count == 8)
        {
            if (TLayout.MaxQuant > 15)
            {
                Widen(factor0, factor1, ref p00, ref p01, ref p02, ref p03, ref p10, ref p11, ref p12, ref p13, ref n00, ref n01, ref n02, ref n03, ref n10, ref n11, ref n12, ref n13);
            }

            Step(group0, group1, first + 4, x0, x1, x2, x3, ref p00, ref p01, ref p02, ref p03, ref p10, ref p11, ref p12, ref p13);
            Step(group0, group1, first + 5, x0, x1, x2, x3, ref p00, ref p01, ref p02, ref p03, ref p10, ref p11, ref p12, ref p13);
            if (TLayout.MaxQuant > 31)
            {
                Widen(factor0, factor1, ref p00, ref p01, ref p02, ref p03, ref p10, ref p11, ref p12, ref p13, ref n00, ref n01, ref n02, ref n03, ref n10, ref n11, ref n12, ref n13);
            }

            Step(group0, group1, first + 6, x0, x1, x2, x3, ref p00, ref p01, ref p02, ref p03, ref p10, ref p11, ref p12, ref p13);
            Step(group0, group1, first + 7, x0, x1, x2, x3, ref p00, ref p01, ref p02, ref p03, ref p10, ref p11, ref p12, ref p13);
        }

        Widen(factor0, factor1, ref p00, ref p01, ref p02, ref p03, ref p10, ref p11, ref p12, ref p13, ref n00, ref n01, ref n02, ref n03, ref n10, ref n11, ref n12, ref n13);
    }

    /// <summary>The same for four steps of one group and one token.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<int> Four(byte* group, int first, sbyte* x, Vector512<short> factor)
    {
        Vector512<short> a = Products(group, first, x) + Products(group, first + 1, x), b = Products(group, first + 2, x) + Products(group, first + 3, x);
        return TLayout.MaxQuant > 31
            ? Avx512BW.MultiplyAddAdjacent(a, factor) + Avx512BW.MultiplyAddAdjacent(b, factor)
            : Avx512BW.MultiplyAddAdjacent(a + b, factor);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step(
        byte* group0, byte* group1, int step, sbyte* x0, sbyte* x1, sbyte* x2, sbyte* x3,
        ref Vector512<short> p00, ref Vector512<short> p01, ref Vector512<short> p02, ref Vector512<short> p03,
        ref Vector512<short> p10, ref Vector512<short> p11, ref Vector512<short> p12, ref Vector512<short> p13)
    {
        Vector512<byte> w0 = TLayout.Load512(group0, step), w1 = TLayout.Load512(group1, step);
        Vector512<sbyte> v = Broadcast(x0, step);
        p00 += Avx512BW.MultiplyAddAdjacent(w0, v);
        p10 += Avx512BW.MultiplyAddAdjacent(w1, v);
        v = Broadcast(x1, step);
        p01 += Avx512BW.MultiplyAddAdjacent(w0, v);
        p11 += Avx512BW.MultiplyAddAdjacent(w1, v);
        v = Broadcast(x2, step);
        p02 += Avx512BW.MultiplyAddAdjacent(w0, v);
        p12 += Avx512BW.MultiplyAddAdjacent(w1, v);
        v = Broadcast(x3, step);
        p03 += Avx512BW.MultiplyAddAdjacent(w0, v);
        p13 += Avx512BW.MultiplyAddAdjacent(w1, v);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Widen(
        Vector512<short> factor0, Vector512<short> factor1,
        ref Vector512<short> p00, ref Vector512<short> p01, ref Vector512<short> p02, ref Vector512<short> p03,
        ref Vector512<short> p10, ref Vector512<short> p11, ref Vector512<short> p12, ref Vector512<short> p13,
        ref Vector512<int> n00, ref Vector512<int> n01, ref Vector512<int> n02, ref Vector512<int> n03,
        ref Vector512<int> n10, ref Vector512<int> n11, ref Vector512<int> n12, ref Vector512<int> n13)
    {
        n00 += Avx512BW.MultiplyAddAdjacent(p00, factor0);
        n01 += Avx512BW.MultiplyAddAdjacent(p01, factor0);
        n02 += Avx512BW.MultiplyAddAdjacent(p02, factor0);
        n03 += Avx512BW.MultiplyAddAdjacent(p03, factor0);
        n10 += Avx512BW.MultiplyAddAdjacent(p10, factor1);
        n11 += Avx512BW.MultiplyAddAdjacent(p11, factor1);
        n12 += Avx512BW.MultiplyAddAdjacent(p12, factor1);
        n13 += Avx512BW.MultiplyAddAdjacent(p13, factor1);
        p00 = p01 = p02 = p03 = p10 = p11 = p12 = p13 = default;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<short> Products(byte* group, int step, sbyte* x) => Avx512BW.MultiplyAddAdjacent(TLayout.Load512(group, step), Broadcast(x, step));

    // Four neighbouring activations in every lane: they meet four neighbouring columns of each row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<sbyte> Broadcast(sbyte* x, int step) => Vector512.Create(((int*)x)[step]).AsSByte();
}
