using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Quantization;

/// <summary><c>y[i] = (float)x[i]</c> for plain float elements, exact.</summary>
/// <remarks>Shapes: both <c>[count]</c>; no overlap. Numerics: a copy; subnormals, infinities and NaN stay what they are; every width gives the same numbers.</remarks>
internal static unsafe class ToSingle
{
    /// <summary>Widens <paramref name="count"/> elements of type F32, F16 or BF16.</summary>
    internal static void Run(KvElementType type, byte* x, long count, float* y)
    {
        switch (type)
        {
            case KvElementType.F32:
                Run<SingleElement>(x, count, y);
                break;
            case KvElementType.F16:
                Run<HalfElement>(x, count, y);
                break;
            case KvElementType.BF16:
                Run<BFloat16Element>(x, count, y);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(type), type, "Not a plain float type.");
        }
    }

    /// <summary>Widens at the widest width the machine has.</summary>
    internal static void Run<TElement>(byte* x, long count, float* y)
        where TElement : IFloatElement
    {
        if (Vector512.IsHardwareAccelerated)
        {
            Run<Vector512<float>, FloatLanes512, TElement>(x, count, y);
        }
        else if (Vector256.IsHardwareAccelerated)
        {
            Run<Vector256<float>, FloatLanes256, TElement>(x, count, y);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            Run<Vector128<float>, FloatLanes128, TElement>(x, count, y);
        }
        else
        {
            Run<float, FloatLanesScalar, TElement>(x, count, y);
        }
    }

    /// <summary>The same at a width of the caller's choice: for tests.</summary>
    internal static void Run<TVector, TLanes, TElement>(byte* x, long count, float* y)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TElement : IFloatElement
    {
        long whole = count - (count % TLanes.Count);
        for (long i = 0; i < whole; i += TLanes.Count)
        {
            TLanes.Store(TElement.Load<TVector, TLanes>(x + (i * TElement.Bytes)), y + i);
        }

        for (long i = whole; i < count; i++)
        {
            y[i] = TElement.Load<float, FloatLanesScalar>(x + (i * TElement.Bytes));
        }
    }
}
