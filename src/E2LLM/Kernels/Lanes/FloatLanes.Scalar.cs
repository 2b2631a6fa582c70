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
    public static float LoadLowHalves(uint* source) => BitConverter.Int32BitsToSingle(((int)(*source << 16) >> 3) & unchecked((int)0x8FFF_E000));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float LoadHighHalves(uint* source) => BitConverter.Int32BitsToSingle(((int)*source >> 3) & unchecked((int)0x8FFF_E000));

    public static float LargestHalves(float soFar, uint* source) => MathF.Max(soFar, Math.Max(*source & 0x7FFF, (*source >> 16) & 0x7FFF));

    public static bool AnySpecialHalf(float largest) => largest >= 0x7C00;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float LoadBFloat16(ushort* source) => BitConverter.UInt32BitsToSingle((uint)*source << 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float LoadLowBFloat16(uint* source) => BitConverter.UInt32BitsToSingle(*source << 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float LoadHighBFloat16(uint* source) => BitConverter.UInt32BitsToSingle(*source & 0xFFFF_0000);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float LoadSByte(sbyte* source) => *source;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float value, float* destination) => *destination = value;

    public static float LoadEven(float* source) => source[0];

    public static float LoadOdd(float* source) => source[1];

    public static void StoreInTurn(float even, float odd, float* destination)
    {
        destination[0] = even;
        destination[1] = odd;
    }

    public static float Add(float left, float right) => left + right;

    public static float Subtract(float left, float right) => left - right;

    public static float Multiply(float left, float right) => left * right;

    public static float Divide(float left, float right) => left / right;

    public static float Max(float left, float right) => MathF.Max(left, right);

    public static float MaxAcross(float value) => value;

    public static float SumAcross(float value) => value;

    // Not MathF.FusedMultiplyAdd: without the instruction that is a call into software, a hundred times slower.
    public static float MultiplyAdd(float left, float right, float addend) => (left * right) + addend;

    public static float ScaleByPowerOfTwo(float value, float shiftedExponent) =>
        BitConverter.Int32BitsToSingle(BitConverter.SingleToInt32Bits(value) + (BitConverter.SingleToInt32Bits(shiftedExponent) << 23));

    public static float SelectLess(float left, float right, float whenTrue, float whenFalse) => left < right ? whenTrue : whenFalse;

    public static float Abs(float value) => MathF.Abs(value);
}
