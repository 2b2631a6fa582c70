using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Elementwise;

/// <summary>
/// <c>y[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i]</c> (Zhang and Sennrich 2019, without the optional bias).
/// </summary>
/// <remarks>
/// Shapes: all <c>[count]</c>. y may be x. Numerics: squares are summed per lane (lane = index modulo the width), lanes in ascending order, the remainder
/// last; the sum's bits depend on the width, not on anything else.
/// </remarks>
internal static unsafe class RmsNorm
{
    /// <summary>Normalises one row.</summary>
    internal static void Run(float* x, float* weight, int count, float epsilon, float* y)
    {
        if (Vector512.IsHardwareAccelerated)
        {
            Run<Vector512<float>, FloatLanes512>(x, weight, count, epsilon, y);
        }
        else if (Vector256.IsHardwareAccelerated)
        {
            Run<Vector256<float>, FloatLanes256>(x, weight, count, epsilon, y);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            Run<Vector128<float>, FloatLanes128>(x, weight, count, epsilon, y);
        }
        else
        {
            Run<float, FloatLanesScalar>(x, weight, count, epsilon, y);
        }
    }

    /// <summary>The same at a width of the caller's choice: for tests.</summary>
    internal static void Run<TVector, TLanes>(float* x, float* weight, int count, float epsilon, float* y)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        int whole = count - (count % TLanes.Count);
        TVector lanes = TLanes.Zero;
        for (int i = 0; i < whole; i += TLanes.Count)
        {
            TVector v = TLanes.Load(x + i);
            lanes = TLanes.MultiplyAdd(v, v, lanes);
        }

        float* sums = stackalloc float[TLanes.Count];
        TLanes.Store(lanes, sums);
        float sum = 0f;
        for (int lane = 0; lane < TLanes.Count; lane++)
        {
            sum += sums[lane];
        }

        for (int i = whole; i < count; i++)
        {
            sum += x[i] * x[i];
        }

        float scale = 1f / MathF.Sqrt((sum / count) + epsilon);
        TVector scales = TLanes.Broadcast(scale);
        for (int i = 0; i < whole; i += TLanes.Count)
        {
            TLanes.Store(TLanes.Multiply(TLanes.Multiply(TLanes.Load(x + i), scales), TLanes.Load(weight + i)), y + i);
        }

        for (int i = whole; i < count; i++)
        {
            y[i] = x[i] * scale * weight[i];
        }
    }
}
