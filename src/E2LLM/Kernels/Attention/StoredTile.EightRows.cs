using System.Runtime.CompilerServices;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Attention;

/// <content>The products of five to eight rows.</content>
internal static unsafe partial class StoredTile
{
    // One pair for five to eight rows: an element is widened for twice as many products.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool Run1x8<TVector, TLanes, TPair>(
        in StoredMatrix matrix, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, bool accumulate, float bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TPair : IStoredPair
    {
        nint sixth = rowCount > 5 ? 5 : 0, seventh = rowCount > 6 ? 6 : 0, eighth = rowCount > 7 ? 7 : 0, stride = matrix.StrideBytes, ahead = matrix.Ahead, scaleStride = matrix.ScaleStride;
        byte* w = matrix.Data;
        float* scales = matrix.Scales;
        float* x1 = x + xStride, x2 = x1 + xStride, x3 = x2 + xStride, x4 = x3 + xStride, x5 = x + (sixth * xStride), x6 = x + (seventh * xStride), x7 = x + (eighth * xStride);
        float* y1 = y + yStride, y2 = y1 + yStride, y3 = y2 + yStride, y4 = y3 + yStride, y5 = y + (sixth * yStride), y6 = y + (seventh * yStride), y7 = y + (eighth * yStride);
        TVector e0 = TLanes.Zero, e1 = e0, e2 = e0, e3 = e0, e4 = e0, e5 = e0, e6 = e0, e7 = e0, o0 = e0, o1 = e0, o2 = e0, o3 = e0, o4 = e0, o5 = e0, o6 = e0, o7 = e0, noted = e0, s = TLanes.Broadcast(bias);
        if (accumulate)
        {
            (e0, o0, e1, o1) = (First<TVector, TLanes, TPair>(y), Second<TVector, TLanes, TPair>(y), First<TVector, TLanes, TPair>(y1), Second<TVector, TLanes, TPair>(y1));
            (e2, o2, e3, o3) = (First<TVector, TLanes, TPair>(y2), Second<TVector, TLanes, TPair>(y2), First<TVector, TLanes, TPair>(y3), Second<TVector, TLanes, TPair>(y3));
            (e4, o4, e5, o5) = (First<TVector, TLanes, TPair>(y4), Second<TVector, TLanes, TPair>(y4), First<TVector, TLanes, TPair>(y5), Second<TVector, TLanes, TPair>(y5));
            (e6, o6, e7, o7) = (First<TVector, TLanes, TPair>(y6), Second<TVector, TLanes, TPair>(y6), First<TVector, TLanes, TPair>(y7), Second<TVector, TLanes, TPair>(y7));
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
            a = TLanes.Broadcast(x4[k]);
            e4 = TLanes.MultiplyAdd(even, a, e4);
            o4 = TLanes.MultiplyAdd(odd, a, o4);
            a = TLanes.Broadcast(x5[k]);
            e5 = TLanes.MultiplyAdd(even, a, e5);
            o5 = TLanes.MultiplyAdd(odd, a, o5);
            a = TLanes.Broadcast(x6[k]);
            e6 = TLanes.MultiplyAdd(even, a, e6);
            o6 = TLanes.MultiplyAdd(odd, a, o6);
            a = TLanes.Broadcast(x7[k]);
            e7 = TLanes.MultiplyAdd(even, a, e7);
            o7 = TLanes.MultiplyAdd(odd, a, o7);
        }

        if (TPair.IsHalf && TLanes.AnySpecialHalf(noted))
        {
            return false;
        }

        Store<TVector, TLanes, TPair>(e0, o0, y);
        Store<TVector, TLanes, TPair>(e1, o1, y1);
        Store<TVector, TLanes, TPair>(e2, o2, y2);
        Store<TVector, TLanes, TPair>(e3, o3, y3);
        Store<TVector, TLanes, TPair>(e4, o4, y4);
        Store<TVector, TLanes, TPair>(e5, o5, y5);
        Store<TVector, TLanes, TPair>(e6, o6, y6);
        Store<TVector, TLanes, TPair>(e7, o7, y7);
        return true;
    }
}
