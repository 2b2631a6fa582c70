using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>
/// <see cref="QuantizedTile{TLayout, TFormat, TDot}"/> for weights that fill a byte on machines with AVX-512: .NET has vpdpbusd for 256 bits only, but what comes after it, once a
/// block, takes sixteen rows at a time. The same sums in the same order.
/// </summary>
internal readonly unsafe struct QuantizedTileVnni<TLayout, TFormat> : IRowTile<QuantizedActivations>
    where TLayout : IQuantLayout
    where TFormat : IQuantizedFormat<TLayout>
{
    private const int BlockColumns = PackedQuantizedRows.BlockColumns;

    // Rows 8 to 15 of a line.
    private const int HalfLine = 32;

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
        Vector512<float> f0 = default, f1 = default, f2 = default, f3 = default;
        for (nint b = 0; b < blocks; b++)
        {
            if (ahead != 0)
            {
                Prefetch.Ahead(group0, PackedQuantizedRows.BlockBytes<TLayout, TFormat>(), ahead);
            }

            Vector256<int> a00 = default, a01 = default, a02 = default, a03 = default, a10 = default, a11 = default, a12 = default, a13 = default;
            Step(group0, 0, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 1, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 2, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 3, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 4, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 5, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 6, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);
            Step(group0, 7, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);

            Vector512<float> w = FloatLanes512.LoadHalf(PackedQuantizedRows.Scales<TLayout>(group0));
            f0 = Scale(a00, a10, s0[b], w, d0[b], f0);
            f1 = Scale(a01, a11, s1[b], w, d1[b], f1);
            f2 = Scale(a02, a12, s2[b], w, d2[b], f2);
            f3 = Scale(a03, a13, s3[b], w, d3[b], f3);
            group0 += PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
            x0 += BlockColumns;
            x1 += BlockColumns;
            x2 += BlockColumns;
            x3 += BlockColumns;
        }

        f0.Store(y);
        f1.Store(y + (t1 * yStride));
        f2.Store(y + (t2 * yStride));
        f3.Store(y + (t3 * yStride));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void RunOne(byte* group, int columns, QuantizedActivations x, float* y)
    {
        int blocks = columns / BlockColumns;
        sbyte* x0 = x.Quants;
        Vector512<float> f = default;
        for (nint b = 0; b < blocks; b++)
        {
            Prefetch.Ahead(group, PackedQuantizedRows.BlockBytes<TLayout, TFormat>());
            Vector256<int> a0 = default, a1 = default;
            Step(group, 0, x0, ref a0, ref a1);
            Step(group, 1, x0, ref a0, ref a1);
            Step(group, 2, x0, ref a0, ref a1);
            Step(group, 3, x0, ref a0, ref a1);
            Step(group, 4, x0, ref a0, ref a1);
            Step(group, 5, x0, ref a0, ref a1);
            Step(group, 6, x0, ref a0, ref a1);
            Step(group, 7, x0, ref a0, ref a1);
            f = Scale(a0, a1, x.Sums[b], FloatLanes512.LoadHalf(PackedQuantizedRows.Scales<TLayout>(group)), x.Scales[b], f);
            group += PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
            x0 += BlockColumns;
        }

        f.Store(y);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step(
        byte* group, int step, sbyte* x0, sbyte* x1, sbyte* x2, sbyte* x3,
        ref Vector256<int> a00, ref Vector256<int> a01, ref Vector256<int> a02, ref Vector256<int> a03,
        ref Vector256<int> a10, ref Vector256<int> a11, ref Vector256<int> a12, ref Vector256<int> a13)
    {
        Vector256<byte> w0 = TLayout.Load256(group, step), w1 = TLayout.Load256(group + HalfLine, step);
        Vector256<sbyte> v = Four(x0, step);
        a00 = AvxVnni.MultiplyWideningAndAdd(a00, w0, v);
        a10 = AvxVnni.MultiplyWideningAndAdd(a10, w1, v);
        v = Four(x1, step);
        a01 = AvxVnni.MultiplyWideningAndAdd(a01, w0, v);
        a11 = AvxVnni.MultiplyWideningAndAdd(a11, w1, v);
        v = Four(x2, step);
        a02 = AvxVnni.MultiplyWideningAndAdd(a02, w0, v);
        a12 = AvxVnni.MultiplyWideningAndAdd(a12, w1, v);
        v = Four(x3, step);
        a03 = AvxVnni.MultiplyWideningAndAdd(a03, w0, v);
        a13 = AvxVnni.MultiplyWideningAndAdd(a13, w1, v);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step(byte* group, int step, sbyte* x, ref Vector256<int> a0, ref Vector256<int> a1)
    {
        Vector256<sbyte> v = Four(x, step);
        a0 = AvxVnni.MultiplyWideningAndAdd(a0, TLayout.Load256(group, step), v);
        a1 = AvxVnni.MultiplyWideningAndAdd(a1, TLayout.Load256(group + HalfLine, step), v);
    }

    // Four neighbouring activations in every lane: they meet four neighbouring columns of each row.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<sbyte> Four(sbyte* x, int step) => Vector256.Create(((int*)x)[step]).AsSByte();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Scale(
        Vector256<int> low, Vector256<int> high, int activationSum, Vector512<float> weightScale, float activationScale, Vector512<float> sum)
    {
        Vector512<int> dot = Vector512.Create(low, high) - Vector512.Create(TFormat.Bias * activationSum);
        return Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(dot), weightScale * Vector512.Create(activationScale), sum);
    }
}
