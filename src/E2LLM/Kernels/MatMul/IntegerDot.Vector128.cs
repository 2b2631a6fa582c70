using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace E2LLM.Kernels.MatMul;

/// <summary>Two halves of four rows each, signed weights: SSSE3 on x86, the dot-product extension or pairwise additions on ARM.</summary>
/// <remarks>Weights that fill a byte have bias 128 and become signed by flipping the top bit; others are signed bytes already.</remarks>
/// <typeparam name="TLayout">The packing, for whether it fills a byte.</typeparam>
internal readonly struct Vector128Dot<TLayout> : IIntegerDot
    where TLayout : IQuantLayout
{
    /// <summary>Whether this machine has the instructions.</summary>
    internal static bool IsSupported => Ssse3.IsSupported || AdvSimd.IsSupported;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Start(int activationSum, int bias) =>
        TLayout.MaxQuant > 127 ? Vector256<int>.Zero : Vector256.Create(-bias * activationSum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Add(Vector256<int> sum, Vector256<byte> weights, Vector256<sbyte> activations) => Vector256.Create(
        Half(sum.GetLower(), weights.GetLower(), activations.GetLower()), Half(sum.GetUpper(), weights.GetUpper(), activations.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> AddPairs(Vector256<int> sum, Vector256<short> left, Vector256<short> right) =>
        sum + Vector256.Create(Pairs(left.GetLower(), right.GetLower()), Pairs(left.GetUpper(), right.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Pairs(Vector128<short> left, Vector128<short> right)
    {
        if (Sse2.IsSupported)
        {
            return Sse2.MultiplyAddAdjacent(left, right);
        }

        Vector128<int> low = AdvSimd.MultiplyWideningLower(left.GetLower(), right.GetLower()), high = AdvSimd.MultiplyWideningLower(left.GetUpper(), right.GetUpper());
        return AdvSimd.AddPairwise(low.GetLower(), low.GetUpper()).ToVector128Unsafe().WithUpper(AdvSimd.AddPairwise(high.GetLower(), high.GetUpper()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<int> Half(Vector128<int> sum, Vector128<byte> weights, Vector128<sbyte> activations)
    {
        Vector128<sbyte> signed = (TLayout.MaxQuant > 127 ? weights ^ Vector128.Create((byte)0x80) : weights).AsSByte();
        if (Dp.IsSupported)
        {
            return Dp.DotProduct(sum, signed, activations);
        }

        if (AdvSimd.IsSupported)
        {
            Vector128<short> low = AdvSimd.MultiplyWideningLower(signed.GetLower(), activations.GetLower());
            Vector128<short> high = AdvSimd.MultiplyWideningLower(signed.GetUpper(), activations.GetUpper());
            Vector128<int> lowPairs = AdvSimd.AddPairwiseWidening(low), highPairs = AdvSimd.AddPairwiseWidening(high);
            return sum + AdvSimd.AddPairwise(lowPairs.GetLower(), lowPairs.GetUpper()).ToVector128Unsafe()
                .WithUpper(AdvSimd.AddPairwise(highPairs.GetLower(), highPairs.GetUpper()));
        }

        // Magnitude times signed activation, as in the AVX2 twin: no pair exceeds 2 * 128 * 127.
        Vector128<short> pairs = Ssse3.MultiplyAddAdjacent(Ssse3.Abs(signed), Ssse3.Sign(activations, signed));
        return sum + Sse2.MultiplyAddAdjacent(pairs, Vector128<short>.One);
    }
}
