using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Quantization;

/// <summary><c>y[i] = (float)x[i]</c> for binary16, exact, thirty-two at a time with 512-bit vectors.</summary>
/// <remarks>
/// Shapes: both <c>[count]</c>, count a multiple of 32; no overlap. Numerics: as <see cref="FloatLanes512.LoadHalf"/>, of which this is a copy with its constants in registers: there the compiler
/// reads each of them from memory for every vector, and those reads take longer than the work.
/// </remarks>
internal static unsafe class HalfToSingle
{
    /// <summary>Widens <paramref name="count"/> elements, and fetches as many bytes from <paramref name="next"/> on meanwhile.</summary>
    internal static void Run(ushort* x, long count, float* y, byte* next) =>
        Run(x, count, y, next, 0x0FFF_E000, 0x3800_0000, 2f, -6.103515625e-05f, 0x0F7F_E000, int.MinValue);

    // Arguments are no constants to the compiler, so that it keeps them in registers.
    [MethodImpl(MethodImplOptions.NoInlining | MethodImplOptions.AggressiveOptimization)]
    private static void Run(
        ushort* x, long count, float* y, byte* next, int magnitudeBits, int exponentShift, float two, float implied, int largestFinite, int signBit)
    {
        Vector512<int> magnitudeMask = Vector512.Create(magnitudeBits), shift = Vector512.Create(exponentShift), largest = Vector512.Create(largestFinite), sign = Vector512.Create(signBit);
        Vector512<float> twice = Vector512.Create(two), one = Vector512.Create(implied);
        for (long i = 0; i < count; i += 32)
        {
            Prefetch.Line(next + (i * sizeof(ushort)));
            Widen(x + i, magnitudeMask, shift, twice, one, largest, sign).Store(y + i);
            Widen(x + i + 16, magnitudeMask, shift, twice, one, largest, sign).Store(y + i + 16);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Widen(
        ushort* x, Vector512<int> magnitudeMask, Vector512<int> shift, Vector512<float> twice, Vector512<float> one, Vector512<int> largest, Vector512<int> sign)
    {
        Vector512<int> shifted = Vector512.WidenLower(Vector256.Load((short*)x).ToVector512Unsafe()) << 13;
        Vector512<int> magnitude = shifted & magnitudeMask;
        Vector512<float> normal = (magnitude + shift).AsSingle();
        Vector512<int> finite = Vector512.MinNative(normal, Vector512.FusedMultiplyAdd(normal, twice, one)).AsInt32();
        Vector512<int> value = Vector512.ConditionalSelect(Vector512.GreaterThan(magnitude, largest), finite + shift, finite);
        return (value | (shifted & sign)).AsSingle();
    }
}
