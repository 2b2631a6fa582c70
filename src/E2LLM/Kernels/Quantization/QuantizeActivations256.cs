using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace E2LLM.Kernels.Quantization;

/// <summary>
/// Blocks of 256 activations to signed bytes: <c>scale = max|x| / 127; q = round(x / scale)</c>, with the sum of each 16 neighbouring q.
/// </summary>
/// <remarks>
/// Shapes: x <c>[count]</c>, quants <c>[count]</c>, scales <c>[count / 256]</c>, sums <c>[count / 16]</c>; count is a multiple of 256. No overlap. Numerics: as
/// <see cref="QuantizeActivations"/>.
/// </remarks>
internal static unsafe class QuantizeActivations256
{
    private const int Elements = 256;
    private const int SumElements = 16;

    /// <summary>Quantises <paramref name="count"/> elements.</summary>
    internal static void Run(float* x, int count, sbyte* quants, float* scales, short* sums)
    {
        if (Vector512.IsHardwareAccelerated && Avx512F.IsSupported)
        {
            RunVector512(x, count, quants, scales, sums);
            return;
        }

        for (int block = 0; block < count / Elements; block++, x += Elements, quants += Elements, sums += Elements / SumElements)
        {
            float inverse = ActivationBlock.Scale(Vector128.IsHardwareAccelerated ? LargestVector128(x) : LargestScalar(x), scales + block);
            if (Vector128.IsHardwareAccelerated)
            {
                RoundVector128(x, inverse, quants, sums);
            }
            else
            {
                RoundScalar(x, inverse, quants, sums);
            }
        }
    }

    /// <summary>The plain twin.</summary>
    internal static void RunScalar(float* x, int count, sbyte* quants, float* scales, short* sums)
    {
        for (int block = 0; block < count / Elements; block++, x += Elements, quants += Elements, sums += Elements / SumElements)
        {
            RoundScalar(x, ActivationBlock.Scale(LargestScalar(x), scales + block), quants, sums);
        }
    }

    // A vector is one sum.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void RunVector512(float* x, int count, sbyte* quants, float* scales, short* sums)
    {
        for (int block = 0; block < count / Elements; block++, x += Elements, quants += Elements, sums += Elements / SumElements)
        {
            Vector512<float> largest = default;
            for (int i = 0; i < Elements; i += SumElements)
            {
                largest = ActivationBlock.LargerMagnitude(largest, Vector512.Load(x + i));
            }

            Vector512<float> inverse = Vector512.Create(ActivationBlock.Scale(ActivationBlock.Largest(largest), scales + block));
            for (int part = 0; part < Elements / SumElements; part++)
            {
                Vector128<sbyte> bytes = Avx512F.ConvertToVector128SByte(ActivationBlock.Round(Vector512.Load(x + (part * SumElements)), inverse));
                bytes.Store(quants + (part * SumElements));
                sums[part] = (short)Vector256.Sum(Avx2.MultiplyAddAdjacent(Avx2.ConvertToVector256Int16(bytes), Vector256<short>.One));
            }
        }
    }

    private static float LargestScalar(float* x)
    {
        float largest = 0f;
        for (int i = 0; i < Elements; i++)
        {
            largest = MathF.Max(largest, MathF.Abs(x[i]));
        }

        return largest;
    }

    // A maximum has no order, so lanes change nothing.
    private static float LargestVector128(float* x)
    {
        Vector128<float> m = default;
        for (int i = 0; i < Elements; i += 4)
        {
            m = Vector128.Max(m, Vector128.Abs(Vector128.Load(x + i)));
        }

        return MathF.Max(MathF.Max(m[0], m[1]), MathF.Max(m[2], m[3]));
    }

    private static void RoundScalar(float* x, float inverse, sbyte* quants, short* sums)
    {
        for (int part = 0; part < Elements / SumElements; part++)
        {
            int sum = 0;
            for (int i = part * SumElements; i < (part + 1) * SumElements; i++)
            {
                quants[i] = ActivationBlock.Round(x[i], inverse);
                sum += quants[i];
            }

            sums[part] = (short)sum;
        }
    }

    // Lanes: four neighbouring elements; four vectors are one sum.
    private static void RoundVector128(float* x, float inverse, sbyte* quants, short* sums)
    {
        Vector128<float> scale = Vector128.Create(inverse);
        for (int part = 0; part < Elements / SumElements; part++, x += SumElements, quants += SumElements)
        {
            Vector128<int> a = ActivationBlock.Round(Vector128.Load(x), scale), b = ActivationBlock.Round(Vector128.Load(x + 4), scale);
            Vector128<int> c = ActivationBlock.Round(Vector128.Load(x + 8), scale), d = ActivationBlock.Round(Vector128.Load(x + 12), scale);
            Vector128<sbyte> bytes = Vector128.Narrow(Vector128.Narrow(a, b), Vector128.Narrow(c, d));
            bytes.Store(quants);
            (Vector128<short> low, Vector128<short> high) = Vector128.Widen(bytes);
            sums[part] = Vector128.Sum(low + high);
        }
    }
}
