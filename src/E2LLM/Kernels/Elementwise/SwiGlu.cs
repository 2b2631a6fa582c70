using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Elementwise;

/// <summary><c>gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i]</c> (Shazeer 2020).</summary>
/// <remarks>
/// Shapes: both <c>[count]</c>; gate is replaced. No overlap but of equal addresses. Numerics: element-wise; elements of the last, incomplete vector use the
/// scalar exponential, so a row must always be passed whole.
/// </remarks>
internal static unsafe class SwiGlu
{
    /// <summary>Gates one row.</summary>
    internal static void Run(float* gate, float* up, int count)
    {
        if (Vector512.IsHardwareAccelerated)
        {
            Run<Vector512<float>, FloatLanes512>(gate, up, count);
        }
        else if (Vector256.IsHardwareAccelerated)
        {
            Run<Vector256<float>, FloatLanes256>(gate, up, count);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            Run<Vector128<float>, FloatLanes128>(gate, up, count);
        }
        else
        {
            Run<float, FloatLanesScalar>(gate, up, count);
        }
    }

    /// <summary>The same at a width of the caller's choice: for tests.</summary>
    internal static void Run<TVector, TLanes>(float* gate, float* up, int count)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        int whole = count - (count % TLanes.Count);
        TVector one = TLanes.Broadcast(1f);
        for (int i = 0; i < whole; i += TLanes.Count)
        {
            TVector g = TLanes.Load(gate + i);
            TVector sigmoid = TLanes.Add(one, Exponential.Run<TVector, TLanes>(TLanes.Subtract(TLanes.Zero, g)));
            TLanes.Store(TLanes.Multiply(TLanes.Divide(g, sigmoid), TLanes.Load(up + i)), gate + i);
        }

        for (int i = whole; i < count; i++)
        {
            gate[i] = gate[i] / (1f + MathF.Exp(-gate[i])) * up[i];
        }
    }
}
