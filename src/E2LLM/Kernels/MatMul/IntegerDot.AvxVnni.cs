using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace E2LLM.Kernels.MatMul;

/// <summary>vpdpbusd and vpdpwssd: the products and the addition in one instruction, without saturation.</summary>
internal readonly struct AvxVnniDot : IIntegerDot
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Start(int activationSum, int bias) => Vector256.Create(-bias * activationSum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Add(Vector256<int> sum, Vector256<byte> weights, Vector256<sbyte> activations) =>
        AvxVnni.MultiplyWideningAndAdd(sum, weights, activations);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> AddPairs(Vector256<int> sum, Vector256<short> left, Vector256<short> right) =>
        AvxVnni.MultiplyWideningAndAdd(sum, left, right);
}
