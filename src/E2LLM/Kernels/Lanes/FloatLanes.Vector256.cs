using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.Lanes;

/// <summary>8 lanes of 256 bits.</summary>
internal readonly unsafe struct FloatLanes256 : IFloatLanes<Vector256<float>>
{
    public static int Count => Vector256<float>.Count;

    public static Vector256<float> Zero => Vector256<float>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Broadcast(float value) => Vector256.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load(float* source) => Vector256.Load(source);

    // No subnormal float is ever met: the exponent is moved from bias 15 to bias 127, which reads a subnormal half m * 2^-24 as 2^-15 + m * 2^-25. Doubling that and
    // taking 2^-14 away gives what it means, and less than the half itself just where it is subnormal: hence the minimum. Infinities and NaN are moved once more.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadHalf(ushort* source)
    {
        Vector256<int> shifted = Vector256.WidenLower(Vector128.Load((short*)source).ToVector256Unsafe()) << 13;
        Vector256<int> magnitude = shifted & Vector256.Create(0x0FFF_E000);
        Vector256<float> normal = (magnitude + Vector256.Create(0x3800_0000)).AsSingle();
        Vector256<int> finite = Vector256.MinNative(normal, Vector256.MultiplyAddEstimate(normal, Vector256.Create(2f), Vector256.Create(-6.103515625e-05f))).AsInt32();
        Vector256<int> special = Vector256.GreaterThan(magnitude, Vector256.Create(0x0F7F_E000)) & Vector256.Create(0x3800_0000);
        return ((finite + special) | (shifted & Vector256.Create(int.MinValue))).AsSingle();
    }

    // A half's exponent and mantissa moved to the low end of a float's exponent: the exponent's bias is 112 less there.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadLowHalves(uint* source) =>
        (((Vector256.Load((int*)source) << 16) >> 3) & Vector256.Create(unchecked((int)0x8FFF_E000))).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadHighHalves(uint* source) =>
        ((Vector256.Load((int*)source) >> 3) & Vector256.Create(unchecked((int)0x8FFF_E000))).AsSingle();

    // A half added to itself loses its sign: infinities and NaN are the largest numbers then.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LargestHalves(Vector256<float> soFar, uint* source)
    {
        Vector256<ushort> halves = Vector256.Load((ushort*)source);
        return Vector256.Max(soFar.AsUInt16(), halves + halves).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnySpecialHalf(Vector256<float> largest) => Vector256.GreaterThanOrEqualAny(largest.AsUInt16(), Vector256.Create((ushort)0xF800));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadBFloat16(ushort* source) => (WidenLoad(source) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadLowBFloat16(uint* source) => (Vector256.Load(source) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadHighBFloat16(uint* source) => (Vector256.Load(source) & Vector256.Create(0xFFFF_0000)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadSByte(sbyte* source) => Vector256.ConvertToSingle(
        Vector256.WidenLower(Vector256.WidenLower(Vector128.CreateScalarUnsafe(*(long*)source).AsSByte().ToVector256Unsafe())));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector256<float> value, float* destination) => value.Store(destination);

    // A pair of floats is one 64-bit lane: even elements are its low half.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadEven(float* source) => Vector256.Narrow(Vector256.Load((ulong*)source), Vector256.Load((ulong*)source + Vector256<ulong>.Count)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LoadOdd(float* source) =>
        Vector256.Narrow(Vector256.Load((ulong*)source) >>> 32, Vector256.Load((ulong*)source + Vector256<ulong>.Count) >>> 32).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreInTurn(Vector256<float> even, Vector256<float> odd, float* destination)
    {
        (Vector256.WidenLower(even.AsUInt32()) | (Vector256.WidenLower(odd.AsUInt32()) << 32)).Store((ulong*)destination);
        (Vector256.WidenUpper(even.AsUInt32()) | (Vector256.WidenUpper(odd.AsUInt32()) << 32)).Store((ulong*)destination + Vector256<ulong>.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Add(Vector256<float> left, Vector256<float> right) => left + right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Subtract(Vector256<float> left, Vector256<float> right) => left - right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Multiply(Vector256<float> left, Vector256<float> right) => left * right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Divide(Vector256<float> left, Vector256<float> right) => left / right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Max(Vector256<float> left, Vector256<float> right) => Vector256.Max(left, right);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxAcross(Vector256<float> value) => FloatLanes128.MaxAcross(Vector128.Max(value.GetLower(), value.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float SumAcross(Vector256<float> value) => FloatLanes128.SumAcross(value.GetLower() + value.GetUpper());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> MultiplyAdd(Vector256<float> left, Vector256<float> right, Vector256<float> addend) =>
        Vector256.MultiplyAddEstimate(left, right, addend);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> ScaleByPowerOfTwo(Vector256<float> value, Vector256<float> shiftedExponent) => (value.AsInt32() + (shiftedExponent.AsInt32() << 23)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> SelectLess(Vector256<float> left, Vector256<float> right, Vector256<float> whenTrue, Vector256<float> whenFalse) =>
        Vector256.ConditionalSelect(Vector256.LessThan(left, right), whenTrue, whenFalse);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Abs(Vector256<float> value) => Vector256.Abs(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> WidenLoad(ushort* source) => Vector256.WidenLower(Vector128.Load(source).ToVector256Unsafe());
}
