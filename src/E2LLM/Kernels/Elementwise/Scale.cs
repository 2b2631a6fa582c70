using System.Numerics;

namespace E2LLM.Kernels.Elementwise;

/// <summary><c>y[i] = x[i] * factor</c>.</summary>
/// <remarks>Shapes: both <c>[count]</c>. x may be y, no other overlap. Numerics: one rounding an element; every width gives the same bits.</remarks>
internal static unsafe class Scale
{
    /// <summary>Scales one row.</summary>
    internal static void Run(float* x, int count, float factor, float* y)
    {
        int whole = count - (count % Vector<float>.Count);
        for (int i = 0; i < whole; i += Vector<float>.Count)
        {
            (Vector.Load(x + i) * factor).Store(y + i);
        }

        for (int i = whole; i < count; i++)
        {
            y[i] = x[i] * factor;
        }
    }
}
