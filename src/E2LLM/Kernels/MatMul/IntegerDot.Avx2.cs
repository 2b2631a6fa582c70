using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace E2LLM.Kernels.MatMul;

/// <summary>vpmaddubsw and vpmaddwd, for weights below 128: two products of at most 127 * 127 fit in 16 bits.</summary>
internal readonly struct Avx2Dot : IIntegerDot
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Start(int activationSum, int bias) => Vector256.Create(-bias * activationSum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Add(Vector256<int> sum, Vector256<byte> weights, Vector256<sbyte> activations) =>
        sum + Avx2.MultiplyAddAdjacent(Avx2.MultiplyAddAdjacent(weights, activations), Vector256<short>.One);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> AddPairs(Vector256<int> sum, Vector256<short> left, Vector256<short> right) =>
        sum + Avx2.MultiplyAddAdjacent(left, right);
}

/// <summary>
/// The same for weights that fill a byte (bias 128): back to signed, then magnitude of the weight times activation with the weight's sign, so that two
/// products are at most 2 * 128 * 127 = 32,512. The bias is gone with that, so a block starts from zero.
/// </summary>
internal readonly struct Avx2SignedDot : IIntegerDot
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Start(int activationSum, int bias) => Vector256<int>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> Add(Vector256<int> sum, Vector256<byte> weights, Vector256<sbyte> activations)
    {
        Vector256<sbyte> signed = (weights ^ Vector256.Create((byte)0x80)).AsSByte();
        Vector256<short> pairs = Avx2.MultiplyAddAdjacent(Avx2.Abs(signed), Avx2.Sign(activations, signed));
        return sum + Avx2.MultiplyAddAdjacent(pairs, Vector256<short>.One);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<int> AddPairs(Vector256<int> sum, Vector256<short> left, Vector256<short> right) =>
        sum + Avx2.MultiplyAddAdjacent(left, right);
}
