using System.Runtime.CompilerServices;

namespace E2LLM.Kernels.Lanes;

/// <summary>One lane: the plain twin of every width.</summary>
internal readonly unsafe struct FloatLanesScalar : IFloatLanes<float>
{
    public static int Count => 1;

    public static float Zero => 0f;

    public static float Broadcast(float value) => value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Load(float* source) => *source;

    public static float LoadHalf(ushort* source) => (float)BitConverter.UInt16BitsToHalf(*source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float LoadBFloat16(ushort* source) => BitConverter.UInt32BitsToSingle((uint)*source << 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float LoadSByte(sbyte* source) => *source;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float value, float* destination) => *destination = value;

    public static float Add(float left, float right) => left + right;

    public static float Subtract(float left, float right) => left - right;

    public static float Multiply(float left, float right) => left * right;

    public static float Divide(float left, float right) => left / right;

    public static float Max(float left, float right) => MathF.Max(left, right);

    public static float MaxAcross(float value) => value;

    public static float SumAcross(float value) => value;

    // Not MathF.FusedMultiplyAdd: without the instruction that is a call into software, a hundred times slower.
    public static float MultiplyAdd(float left, float right, float addend) => (left * right) + addend;

    public static float Exp(float value) => MathF.Exp(value);

    public static float Abs(float value) => MathF.Abs(value);
}
