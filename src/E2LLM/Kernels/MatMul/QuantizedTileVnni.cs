using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
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
        Vector512<float> f0 = default, f1 = default, f2 = default, f3 = default;
        for (nint b = 0; b < blocks; b++)
        {
            if (ahead != 0)
            {
                Prefetch.Ahead(group0, PackedQuantizedRows.BlockBytes<TLayout, TFormat>(), ahead);
            }

            Vector256<int> a00 = default, a01 = default, a02 = default, a03 = default, a10 = default, a11 = default, a12 = default, a13 = default;
            HalfLineDot<TLayout, AvxVnniDot>.Add(group0, x0, x1, x2, x3, ref a00, ref a01, ref a02, ref a03, ref a10, ref a11, ref a12, ref a13);

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

        TokenRows.Four(y, yStride, tokenCount, out float* y0, out float* y1, out float* y2, out float* y3);
        f0.Store(y0);
        f1.Store(y1);
        f2.Store(y2);
        f3.Store(y3);
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
            HalfLineDot<TLayout, AvxVnniDot>.Add(group, x0, ref a0, ref a1);
            f = Scale(a0, a1, x.Sums[b], FloatLanes512.LoadHalf(PackedQuantizedRows.Scales<TLayout>(group)), x.Scales[b], f);
            group += PackedQuantizedRows.BlockBytes<TLayout, TFormat>();
            x0 += BlockColumns;
        }

        f.Store(y);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Scale(
        Vector256<int> low, Vector256<int> high, int activationSum, Vector512<float> weightScale, float activationScale, Vector512<float> sum)
    {
        Vector512<int> dot = Vector512.Create(low, high) - Vector512.Create(TFormat.Bias * activationSum);
        return Vector512.FusedMultiplyAdd(Vector512.ConvertToSingle(dot) * weightScale, Vector512.Create(activationScale), sum);
    }
}
