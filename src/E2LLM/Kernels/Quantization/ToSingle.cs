using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Quantization;

/// <summary><c>y[i] = (float)x[i]</c> for plain float elements, exact.</summary>
/// <remarks>Shapes: both <c>[count]</c>; no overlap. Numerics: a copy; subnormals, infinities and NaN stay what they are; every width gives the same numbers.</remarks>
internal static unsafe class ToSingle
{
    /// <summary>Widens <paramref name="count"/> elements of type F32, F16 or BF16.</summary>
    /// <param name="type">Element type.</param>
    /// <param name="x">Elements.</param>
    /// <param name="count">How many.</param>
    /// <param name="y">Output.</param>
    /// <param name="next">What will be read afterwards, as long as <paramref name="x"/>: it is fetched meanwhile. Null for nothing.</param>
    internal static void Run(KvElementType type, byte* x, long count, float* y, byte* next = null)
    {
        switch (type)
        {
            case KvElementType.F32:
                Run<SingleElement>(x, count, y, next);
                break;
            case KvElementType.F16:
                Run<HalfElement>(x, count, y, next);
                break;
            case KvElementType.BF16:
                Run<BFloat16Element>(x, count, y, next);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(type), type, "Not a plain float type.");
        }
    }

    /// <summary>Widens at the widest width the machine has.</summary>
    internal static void Run<TElement>(byte* x, long count, float* y, byte* next = null)
        where TElement : IFloatElement
    {
        if (Vector512.IsHardwareAccelerated)
        {
            Run<Vector512<float>, FloatLanes512, TElement>(x, count, y, next);
        }
        else if (Vector256.IsHardwareAccelerated)
        {
            Run<Vector256<float>, FloatLanes256, TElement>(x, count, y, next);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            Run<Vector128<float>, FloatLanes128, TElement>(x, count, y, next);
        }
        else
        {
            Run<float, FloatLanesScalar, TElement>(x, count, y, next);
        }
    }

    /// <summary>The same at a width of the caller's choice: for tests.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Run<TVector, TLanes, TElement>(byte* x, long count, float* y, byte* next = null)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
        where TElement : IFloatElement
    {
        long whole = count - (count % TLanes.Count);
        next = next is null ? x : next;
        if (typeof(TElement) == typeof(HalfElement) && TLanes.Count == 16 && count % 32 == 0)
        {
            HalfToSingle.Run((ushort*)x, count, y, next);
            return;
        }

        for (long i = 0; i < whole; i += TLanes.Count)
        {
            Prefetch.Line(next + (i * TElement.Bytes));
            TLanes.Store(TElement.Load<TVector, TLanes>(x + (i * TElement.Bytes)), y + i);
        }

        for (long i = whole; i < count; i++)
        {
            y[i] = TElement.Load<float, FloatLanesScalar>(x + (i * TElement.Bytes));
        }
    }
}
