using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace E2LLM.Kernels.Quantization;

/// <summary>
/// Blocks of 32 activations to signed bytes: <c>scale = max|x| / 127; q = round(x / scale); sum = sum of q</c>.
/// </summary>
/// <remarks>
/// Shapes: x <c>[count]</c>, quants <c>[count]</c>, scales and sums <c>[count / 32]</c>; count is a multiple of 32. No overlap.
/// Numerics: rounds to nearest, ties to even; the stored scale is rounded to half precision (<see cref="ActivationBlock.HalfScale"/>); every width gives the same bits. A block that holds a NaN or an
/// infinity gets a scale that is NaN or infinite, so that products show it.
/// </remarks>
internal static unsafe class QuantizeActivations
{
    /// <summary>Quantises <paramref name="count"/> elements.</summary>
    internal static void Run(float* x, int count, sbyte* quants, float* scales, int* sums)
    {
        if (Vector512.IsHardwareAccelerated && Avx512F.IsSupported)
        {
            RunVector512(x, count, quants, scales, sums);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            RunVector128(x, count, quants, scales, sums);
        }
        else
        {
            RunScalar(x, count, quants, scales, sums);
        }
    }

    /// <summary>The plain twin.</summary>
    internal static void RunScalar(float* x, int count, sbyte* quants, float* scales, int* sums)
    {
        for (int block = 0; block < count / ActivationBlock.Elements; block++, x += ActivationBlock.Elements, quants += ActivationBlock.Elements)
        {
            float largest = 0f;
            for (int i = 0; i < ActivationBlock.Elements; i++)
            {
                largest = MathF.Max(largest, MathF.Abs(x[i]));
            }

            float inverse = ActivationBlock.HalfScale(largest, scales + block);
            int sum = 0;
            for (int i = 0; i < ActivationBlock.Elements; i++)
            {
                quants[i] = ActivationBlock.Round(x[i], inverse);
                sum += quants[i];
            }

            sums[block] = sum;
        }
    }

    // Lanes: four neighbouring elements; eight vectors are one block, so there is no remainder.
    internal static void RunVector128(float* x, int count, sbyte* quants, float* scales, int* sums)
    {
        for (int block = 0; block < count / ActivationBlock.Elements; block++, x += ActivationBlock.Elements, quants += ActivationBlock.Elements)
        {
            Vector128<float> v0 = Vector128.Load(x), v1 = Vector128.Load(x + 4), v2 = Vector128.Load(x + 8), v3 = Vector128.Load(x + 12);
            Vector128<float> v4 = Vector128.Load(x + 16), v5 = Vector128.Load(x + 20), v6 = Vector128.Load(x + 24), v7 = Vector128.Load(x + 28);
            Vector128<float> m = Vector128.Max(
                Vector128.Max(Vector128.Max(Vector128.Abs(v0), Vector128.Abs(v1)), Vector128.Max(Vector128.Abs(v2), Vector128.Abs(v3))),
                Vector128.Max(Vector128.Max(Vector128.Abs(v4), Vector128.Abs(v5)), Vector128.Max(Vector128.Abs(v6), Vector128.Abs(v7))));
            float largest = MathF.Max(MathF.Max(m[0], m[1]), MathF.Max(m[2], m[3]));
            Vector128<float> inverse = Vector128.Create(ActivationBlock.HalfScale(largest, scales + block));
            Vector128<int> i0 = ActivationBlock.Round(v0, inverse), i1 = ActivationBlock.Round(v1, inverse), i2 = ActivationBlock.Round(v2, inverse), i3 = ActivationBlock.Round(v3, inverse);
            Vector128<int> i4 = ActivationBlock.Round(v4, inverse), i5 = ActivationBlock.Round(v5, inverse), i6 = ActivationBlock.Round(v6, inverse), i7 = ActivationBlock.Round(v7, inverse);
            Vector128<sbyte> low = Vector128.Narrow(Vector128.Narrow(i0, i1), Vector128.Narrow(i2, i3));
            Vector128<sbyte> high = Vector128.Narrow(Vector128.Narrow(i4, i5), Vector128.Narrow(i6, i7));
            low.Store(quants);
            high.Store(quants + 16);
            (Vector128<short> a, Vector128<short> b) = Vector128.Widen(low);
            (Vector128<short> c, Vector128<short> d) = Vector128.Widen(high);
            sums[block] = Vector128.Sum(a + b + c + d);
        }
    }

    // Two vectors are one block.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void RunVector512(float* x, int count, sbyte* quants, float* scales, int* sums)
    {
        for (int block = 0; block < count / ActivationBlock.Elements; block++, x += ActivationBlock.Elements, quants += ActivationBlock.Elements)
        {
            Vector512<float> a = Vector512.Load(x), b = Vector512.Load(x + 16);
            Vector512<float> inverse = Vector512.Create(ActivationBlock.HalfScale(ActivationBlock.Largest(ActivationBlock.LargerMagnitude(a, b)), scales + block));
            Vector128<sbyte> low = Avx512F.ConvertToVector128SByte(ActivationBlock.Round(a, inverse)), high = Avx512F.ConvertToVector128SByte(ActivationBlock.Round(b, inverse));
            low.Store(quants);
            high.Store(quants + 16);
            sums[block] = Vector256.Sum(Avx2.MultiplyAddAdjacent(Avx2.ConvertToVector256Int16(low) + Avx2.ConvertToVector256Int16(high), Vector256<short>.One));
        }
    }
}
