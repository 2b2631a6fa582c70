using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Elementwise;

/// <summary><c>y[i] = y[i] + x[i]</c>: residuals and biases.</summary>
/// <remarks>Shapes: both <c>[count]</c>. x may be y, no other overlap. Numerics: one rounding an element; every width gives the same bits.</remarks>
internal static unsafe class AddTo
{
    /// <summary>Adds one row to another.</summary>
    internal static void Run(float* x, int count, float* y)
    {
        if (Vector512.IsHardwareAccelerated)
        {
            Run<Vector512<float>, FloatLanes512>(x, count, y);
        }
        else if (Vector256.IsHardwareAccelerated)
        {
            Run<Vector256<float>, FloatLanes256>(x, count, y);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            Run<Vector128<float>, FloatLanes128>(x, count, y);
        }
        else
        {
            Run<float, FloatLanesScalar>(x, count, y);
        }
    }

    /// <summary>The same at a width of the caller's choice: for tests.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Run<TVector, TLanes>(float* x, int count, float* y)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        int whole = count - (count % TLanes.Count);
        for (int i = 0; i < whole; i += TLanes.Count)
        {
            TLanes.Store(TLanes.Add(TLanes.Load(y + i), TLanes.Load(x + i)), y + i);
        }

        for (int i = whole; i < count; i++)
        {
            y[i] += x[i];
        }
    }
}
