using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.Coding;

/// <summary><c>least = min over i of x[i]</c> and <c>most = max over i of x[i]</c>.</summary>
/// <remarks>Shapes: x <c>[n]</c>, n at least 1. Numerics: exact; for finite numbers only.</remarks>
internal static unsafe class RowExtremes
{
    internal static void Run(float* x, int n, out float least, out float most)
    {
        Vector256<float> low = Vector256.Create(x[0]), high = low;
        int i = 0;
        for (; i <= n - Vector256<float>.Count; i += Vector256<float>.Count)
        {
            Vector256<float> value = Vector256.Load(x + i);
            low = Vector256.MinNative(low, value);
            high = Vector256.MaxNative(high, value);
        }

        (least, most) = (x[0], x[0]);
        for (int lane = 0; lane < Vector256<float>.Count; lane++)
        {
            least = Math.Min(least, low[lane]);
            most = Math.Max(most, high[lane]);
        }

        for (; i < n; i++)
        {
            least = Math.Min(least, x[i]);
            most = Math.Max(most, x[i]);
        }
    }
}
