using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.Quantization;

/// <summary>What every quantisation of activations shares: geometry, scale and rounding, stated once.</summary>
internal static unsafe class ActivationBlock
{
    /// <summary>Elements that share one scale: the block of every simple quantised weight type.</summary>
    internal const int Elements = 32;

    /// <summary>Largest magnitude of a quantised activation.</summary>
    private const float MaxMagnitude = 127f;

    /// <summary>
    /// Blocks whose largest magnitude is below this are stored as zero, far below anything that a sum of normal floats notices; and those above <see cref="GreatestMagnitude"/> as infinite. Products with
    /// half-precision weights then meet neither subnormal floats nor overflow, in whatever power-of-two unit they are summed.
    /// </summary>
    private const float SmallestMagnitude = 1e-25f;

    private const float GreatestMagnitude = 1e27f;

    // Added and taken away again it leaves a float of magnitude below 2^22 rounded to the nearest integer in its low bits.
    private const float Rounder = 12582912f;
    private const int RounderBits = 0x4B40_0000;

    /// <summary>Stores the scale of a block whose largest magnitude is given, and gives its inverse.</summary>
    internal static float Scale(float largest, float* scale)
    {
        // Written so that NaN takes the second branch.
        if (largest < SmallestMagnitude)
        {
            *scale = 0f;
            return 0f;
        }

        *scale = largest <= GreatestMagnitude ? largest / MaxMagnitude : largest * float.PositiveInfinity;
        return MaxMagnitude / largest;
    }

    /// <summary>
    /// <see cref="Scale"/> with the stored scale rounded to half precision (ties to even), as llama.cpp stores it for blocks of 32: the same
    /// integers and the same scales there and here keep two engines' logits together through many layers. Scales outside the normal halves stay as they are.
    /// </summary>
    internal static float HalfScale(float largest, float* scale)
    {
        const int DroppedBits = 23 - 10;
        float inverse = Scale(largest, scale);
        if (*scale is >= 6.103515625e-5f and < 65504f)
        {
            int bits = BitConverter.SingleToInt32Bits(*scale);
            bits += (1 << (DroppedBits - 1)) - 1 + ((bits >> DroppedBits) & 1);
            *scale = BitConverter.Int32BitsToSingle(bits & -(1 << DroppedBits));
        }

        return inverse;
    }

    /// <summary>Nearest integer of <c>value * inverse</c>, ties to even.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static sbyte Round(float value, float inverse) => (sbyte)(BitConverter.SingleToInt32Bits((value * inverse) + Rounder) - RounderBits);

    /// <summary>The same in four lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector128<int> Round(Vector128<float> value, Vector128<float> inverse) =>
        ((value * inverse) + Vector128.Create(Rounder)).AsInt32() - Vector128.Create(RounderBits);

    /// <summary>The same in sixteen lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<int> Round(Vector512<float> value, Vector512<float> inverse) =>
        ((value * inverse) + Vector512.Create(Rounder)).AsInt32() - Vector512.Create(RounderBits);

    /// <summary>The largest magnitude, or NaN where there is one: magnitudes' bits are ordered as they are, and NaN above all of them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Largest(Vector512<float> value)
    {
        Vector512<int> bits = value.AsInt32() & Vector512.Create(int.MaxValue);
        Vector256<int> half = Vector256.Max(bits.GetLower(), bits.GetUpper());
        Vector128<int> quarter = Vector128.Max(half.GetLower(), half.GetUpper());
        quarter = Vector128.Max(quarter, Vector128.Shuffle(quarter, Vector128.Create(2, 3, 0, 1)));
        quarter = Vector128.Max(quarter, Vector128.Shuffle(quarter, Vector128.Create(1, 0, 3, 2)));
        return BitConverter.Int32BitsToSingle(quarter.ToScalar());
    }

    /// <summary>Lane by lane whichever has the larger magnitude's bits, without signs.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<float> LargerMagnitude(Vector512<float> left, Vector512<float> right) =>
        Vector512.Max(left.AsInt32() & Vector512.Create(int.MaxValue), right.AsInt32() & Vector512.Create(int.MaxValue)).AsSingle();
}
