using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.Lanes;

/// <summary>16 lanes of 512 bits.</summary>
internal readonly unsafe struct FloatLanes512 : IFloatLanes<Vector512<float>>
{
    public static int Count => Vector512<float>.Count;

    public static Vector512<float> Zero => Vector512<float>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Broadcast(float value) => Vector512.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(float* source) => Vector512.Load(source);

    // No subnormal float is ever met: the exponent is moved from bias 15 to bias 127, which reads a subnormal half m * 2^-24 as 2^-15 + m * 2^-25. Doubling that and
    // taking 2^-14 away gives what it means, and less than the half itself just where it is subnormal: hence the minimum. Infinities and NaN are moved once more.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadHalf(ushort* source)
    {
        Vector512<int> shifted = Vector512.WidenLower(Vector256.Load((short*)source).ToVector512Unsafe()) << 13;
        Vector512<int> magnitude = shifted & Vector512.Create(0x0FFF_E000);
        Vector512<float> normal = (magnitude + Vector512.Create(0x3800_0000)).AsSingle();
        Vector512<int> finite = Vector512.MinNative(normal, Vector512.MultiplyAddEstimate(normal, Vector512.Create(2f), Vector512.Create(-6.103515625e-05f))).AsInt32();
        Vector512<int> value = Vector512.ConditionalSelect(Vector512.GreaterThan(magnitude, Vector512.Create(0x0F7F_E000)), finite + Vector512.Create(0x3800_0000), finite);
        return (value | (shifted & Vector512.Create(int.MinValue))).AsSingle();
    }

    // A half's exponent and mantissa moved to the low end of a float's exponent: the exponent's bias is 112 less there.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadLowHalves(uint* source) =>
        (((Vector512.Load((int*)source) << 16) >> 3) & Vector512.Create(unchecked((int)0x8FFF_E000))).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadHighHalves(uint* source) =>
        ((Vector512.Load((int*)source) >> 3) & Vector512.Create(unchecked((int)0x8FFF_E000))).AsSingle();

    // A half added to itself loses its sign: infinities and NaN are the largest numbers then.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LargestHalves(Vector512<float> soFar, uint* source)
    {
        Vector512<ushort> halves = Vector512.Load((ushort*)source);
        return Vector512.Max(soFar.AsUInt16(), halves + halves).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnySpecialHalf(Vector512<float> largest) => Vector512.GreaterThanOrEqualAny(largest.AsUInt16(), Vector512.Create((ushort)0xF800));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadBFloat16(ushort* source) => (WidenLoad(source) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadLowBFloat16(uint* source) => (Vector512.Load(source) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadHighBFloat16(uint* source) => (Vector512.Load(source) & Vector512.Create(0xFFFF_0000)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadSByte(sbyte* source) => Vector512.ConvertToSingle(
        Vector512.WidenLower(Vector512.WidenLower(Vector128.Load(source).ToVector256Unsafe().ToVector512Unsafe())));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector512<float> value, float* destination) => value.Store(destination);

    // A pair of floats is one 64-bit lane: even elements are its low half.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadEven(float* source) => Vector512.Narrow(Vector512.Load((ulong*)source), Vector512.Load((ulong*)source + Vector512<ulong>.Count)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LoadOdd(float* source) =>
        Vector512.Narrow(Vector512.Load((ulong*)source) >>> 32, Vector512.Load((ulong*)source + Vector512<ulong>.Count) >>> 32).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreInTurn(Vector512<float> even, Vector512<float> odd, float* destination)
    {
        (Vector512.WidenLower(even.AsUInt32()) | (Vector512.WidenLower(odd.AsUInt32()) << 32)).Store((ulong*)destination);
        (Vector512.WidenUpper(even.AsUInt32()) | (Vector512.WidenUpper(odd.AsUInt32()) << 32)).Store((ulong*)destination + Vector512<ulong>.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Add(Vector512<float> left, Vector512<float> right) => left + right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Subtract(Vector512<float> left, Vector512<float> right) => left - right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Multiply(Vector512<float> left, Vector512<float> right) => left * right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Divide(Vector512<float> left, Vector512<float> right) => left / right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Max(Vector512<float> left, Vector512<float> right) => Vector512.Max(left, right);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxAcross(Vector512<float> value) => FloatLanes256.MaxAcross(Vector256.Max(value.GetLower(), value.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float SumAcross(Vector512<float> value) => FloatLanes256.SumAcross(value.GetLower() + value.GetUpper());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> MultiplyAdd(Vector512<float> left, Vector512<float> right, Vector512<float> addend) =>
        Vector512.MultiplyAddEstimate(left, right, addend);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> ScaleByPowerOfTwo(Vector512<float> value, Vector512<float> shiftedExponent) => (value.AsInt32() + (shiftedExponent.AsInt32() << 23)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> SelectLess(Vector512<float> left, Vector512<float> right, Vector512<float> whenTrue, Vector512<float> whenFalse) =>
        Vector512.ConditionalSelect(Vector512.LessThan(left, right), whenTrue, whenFalse);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Abs(Vector512<float> value) => Vector512.Abs(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> WidenLoad(ushort* source) => Vector512.WidenLower(Vector256.Load(source).ToVector512Unsafe());
}
