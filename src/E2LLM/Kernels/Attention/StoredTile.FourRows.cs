using System.Runtime.CompilerServices;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Attention;

/// <content>The products of three or four rows.</content>
internal static unsafe partial class StoredTile
{
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool Run2x4<TVector, TLanes, TPair>(
        in StoredMatrix w, nint secondScales, int pairs, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, bool accumulate, float bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TPair : IStoredPair
    {
        nint second = pairs > 1 ? 2 * TLanes.Count : 0, stride = w.StrideBytes, ahead = w.Ahead, scaleStride = w.ScaleStride, fourth = rowCount > 3 ? 3 : 0;
        byte* w0 = w.Data, w1 = w.Data + (second * TPair.Bytes);
        float* s0 = w.Scales, s1 = w.Scales + (pairs > 1 ? secondScales : 0);
        float* x1 = x + xStride, x2 = x1 + xStride, x3 = x + (fourth * xStride), y1 = y + yStride, y2 = y1 + yStride, y3 = y + (fourth * yStride);
        TVector e00 = TLanes.Zero, o00 = e00, e10 = e00, o10 = e00, e01 = e00, o01 = e00, e11 = e00, o11 = e00;
        TVector e02 = e00, o02 = e00, e12 = e00, o12 = e00, e03 = e00, o03 = e00, e13 = e00, o13 = e00, noted = e00, s = TLanes.Broadcast(bias);
        if (accumulate)
        {
            (e00, o00, e10, o10) = (First<TVector, TLanes, TPair>(y), Second<TVector, TLanes, TPair>(y), First<TVector, TLanes, TPair>(y + second), Second<TVector, TLanes, TPair>(y + second));
            (e01, o01, e11, o11) = (First<TVector, TLanes, TPair>(y1), Second<TVector, TLanes, TPair>(y1), First<TVector, TLanes, TPair>(y1 + second), Second<TVector, TLanes, TPair>(y1 + second));
            (e02, o02, e12, o12) = (First<TVector, TLanes, TPair>(y2), Second<TVector, TLanes, TPair>(y2), First<TVector, TLanes, TPair>(y2 + second), Second<TVector, TLanes, TPair>(y2 + second));
            (e03, o03, e13, o13) = (First<TVector, TLanes, TPair>(y3), Second<TVector, TLanes, TPair>(y3), First<TVector, TLanes, TPair>(y3 + second), Second<TVector, TLanes, TPair>(y3 + second));
        }

        for (nint k = 0; k < depth; k++, w0 += stride, w1 += stride)
        {
            Fetch<TVector, TLanes, TPair>(w0 + ahead);
            Fetch<TVector, TLanes, TPair>(w1 + ahead);
            if (TPair.IsHalf)
            {
                noted = TLanes.LargestHalves(TLanes.LargestHalves(noted, (uint*)w0), (uint*)w1);
            }

            nint scale = TPair.ScaleRow(k) * scaleStride;
            TVector even0 = TPair.First<TVector, TLanes>(w0, s0 + scale, s), odd0 = TPair.Second<TVector, TLanes>(w0, s0 + scale, s);
            TVector even1 = TPair.First<TVector, TLanes>(w1, s1 + scale, s), odd1 = TPair.Second<TVector, TLanes>(w1, s1 + scale, s);
            TVector a = TLanes.Broadcast(x[k]);
            e00 = TLanes.MultiplyAdd(even0, a, e00);
            o00 = TLanes.MultiplyAdd(odd0, a, o00);
            e10 = TLanes.MultiplyAdd(even1, a, e10);
            o10 = TLanes.MultiplyAdd(odd1, a, o10);
            a = TLanes.Broadcast(x1[k]);
            e01 = TLanes.MultiplyAdd(even0, a, e01);
            o01 = TLanes.MultiplyAdd(odd0, a, o01);
            e11 = TLanes.MultiplyAdd(even1, a, e11);
            o11 = TLanes.MultiplyAdd(odd1, a, o11);
            a = TLanes.Broadcast(x2[k]);
            e02 = TLanes.MultiplyAdd(even0, a, e02);
            o02 = TLanes.MultiplyAdd(odd0, a, o02);
            e12 = TLanes.MultiplyAdd(even1, a, e12);
            o12 = TLanes.MultiplyAdd(odd1, a, o12);
            a = TLanes.Broadcast(x3[k]);
            e03 = TLanes.MultiplyAdd(even0, a, e03);
            o03 = TLanes.MultiplyAdd(odd0, a, o03);
            e13 = TLanes.MultiplyAdd(even1, a, e13);
            o13 = TLanes.MultiplyAdd(odd1, a, o13);
        }

        if (TPair.IsHalf && TLanes.AnySpecialHalf(noted))
        {
            return false;
        }

        Store<TVector, TLanes, TPair>(e00, o00, y);
        Store<TVector, TLanes, TPair>(e10, o10, y + second);
        Store<TVector, TLanes, TPair>(e01, o01, y1);
        Store<TVector, TLanes, TPair>(e11, o11, y1 + second);
        Store<TVector, TLanes, TPair>(e02, o02, y2);
        Store<TVector, TLanes, TPair>(e12, o12, y2 + second);
        Store<TVector, TLanes, TPair>(e03, o03, y3);
        Store<TVector, TLanes, TPair>(e13, o13, y3 + second);
        return true;
    }

    // One pair for three or four rows, where there are half as many registers.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool Run1x4<TVector, TLanes, TPair>(
        in StoredMatrix matrix, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, bool accumulate, float bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TPair : IStoredPair
    {
        nint stride = matrix.StrideBytes, ahead = matrix.Ahead, scaleStride = matrix.ScaleStride, fourth = rowCount > 3 ? 3 : 0;
        byte* w = matrix.Data;
        float* scales = matrix.Scales;
        float* x1 = x + xStride, x2 = x1 + xStride, x3 = x + (fourth * xStride), y1 = y + yStride, y2 = y1 + yStride, y3 = y + (fourth * yStride);
        TVector e0 = TLanes.Zero, e1 = e0, e2 = e0, e3 = e0, o0 = e0, o1 = e0, o2 = e0, o3 = e0, noted = e0, s = TLanes.Broadcast(bias);
        if (accumulate)
        {
            (e0, o0, e1, o1) = (First<TVector, TLanes, TPair>(y), Second<TVector, TLanes, TPair>(y), First<TVector, TLanes, TPair>(y1), Second<TVector, TLanes, TPair>(y1));
            (e2, o2, e3, o3) = (First<TVector, TLanes, TPair>(y2), Second<TVector, TLanes, TPair>(y2), First<TVector, TLanes, TPair>(y3), Second<TVector, TLanes, TPair>(y3));
        }

        for (nint k = 0; k < depth; k++, w += stride)
        {
            Fetch<TVector, TLanes, TPair>(w + ahead);
            if (TPair.IsHalf)
            {
                noted = TLanes.LargestHalves(noted, (uint*)w);
            }

            nint scale = TPair.ScaleRow(k) * scaleStride;
            TVector even = TPair.First<TVector, TLanes>(w, scales + scale, s), odd = TPair.Second<TVector, TLanes>(w, scales + scale, s);
            TVector a = TLanes.Broadcast(x[k]);
            e0 = TLanes.MultiplyAdd(even, a, e0);
            o0 = TLanes.MultiplyAdd(odd, a, o0);
            a = TLanes.Broadcast(x1[k]);
            e1 = TLanes.MultiplyAdd(even, a, e1);
            o1 = TLanes.MultiplyAdd(odd, a, o1);
            a = TLanes.Broadcast(x2[k]);
            e2 = TLanes.MultiplyAdd(even, a, e2);
            o2 = TLanes.MultiplyAdd(odd, a, o2);
            a = TLanes.Broadcast(x3[k]);
            e3 = TLanes.MultiplyAdd(even, a, e3);
            o3 = TLanes.MultiplyAdd(odd, a, o3);
        }

        if (TPair.IsHalf && TLanes.AnySpecialHalf(noted))
        {
            return false;
        }

        Store<TVector, TLanes, TPair>(e0, o0, y);
        Store<TVector, TLanes, TPair>(e1, o1, y1);
        Store<TVector, TLanes, TPair>(e2, o2, y2);
        Store<TVector, TLanes, TPair>(e3, o3, y3);
        return true;
    }
}
