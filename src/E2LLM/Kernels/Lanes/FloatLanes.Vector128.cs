using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.Lanes;

/// <summary>4 lanes of 128 bits.</summary>
internal readonly unsafe struct FloatLanes128 : IFloatLanes<Vector128<float>>
{
    public static int Count => Vector128<float>.Count;

    public static Vector128<float> Zero => Vector128<float>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Broadcast(float value) => Vector128.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Load(float* source) => Vector128.Load(source);

    // No subnormal float is ever met: the exponent is moved from bias 15 to bias 127, which reads a subnormal half m * 2^-24 as 2^-15 + m * 2^-25. Doubling that and
    // taking 2^-14 away gives what it means, and less than the half itself just where it is subnormal: hence the minimum. Infinities and NaN are moved once more.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadHalf(ushort* source)
    {
        Vector128<int> shifted = Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(ulong*)source).AsInt16()) << 13;
        Vector128<int> magnitude = shifted & Vector128.Create(0x0FFF_E000);
        Vector128<float> normal = (magnitude + Vector128.Create(0x3800_0000)).AsSingle();
        Vector128<int> finite = Vector128.MinNative(normal, Vector128.MultiplyAddEstimate(normal, Vector128.Create(2f), Vector128.Create(-6.103515625e-05f))).AsInt32();
        Vector128<int> special = Vector128.GreaterThan(magnitude, Vector128.Create(0x0F7F_E000)) & Vector128.Create(0x3800_0000);
        return ((finite + special) | (shifted & Vector128.Create(int.MinValue))).AsSingle();
    }

    // A half's exponent and mantissa moved to the low end of a float's exponent: the exponent's bias is 112 less there.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadLowHalves(uint* source) =>
        (((Vector128.Load((int*)source) << 16) >> 3) & Vector128.Create(unchecked((int)0x8FFF_E000))).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadHighHalves(uint* source) =>
        ((Vector128.Load((int*)source) >> 3) & Vector128.Create(unchecked((int)0x8FFF_E000))).AsSingle();

    // A half added to itself loses its sign: infinities and NaN are the largest numbers then.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LargestHalves(Vector128<float> soFar, uint* source)
    {
        Vector128<ushort> halves = Vector128.Load((ushort*)source);
        return Vector128.Max(soFar.AsUInt16(), halves + halves).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AnySpecialHalf(Vector128<float> largest) => Vector128.GreaterThanOrEqualAny(largest.AsUInt16(), Vector128.Create((ushort)0xF800));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadBFloat16(ushort* source) => (WidenLoad(source) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadLowBFloat16(uint* source) => (Vector128.Load(source) << 16).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadHighBFloat16(uint* source) => (Vector128.Load(source) & Vector128.Create(0xFFFF_0000)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadSByte(sbyte* source) => Vector128.ConvertToSingle(
        Vector128.WidenLower(Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(int*)source).AsSByte())));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector128<float> value, float* destination) => value.Store(destination);

    // A pair of floats is one 64-bit lane: even elements are its low half.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadEven(float* source) => Vector128.Narrow(Vector128.Load((ulong*)source), Vector128.Load((ulong*)source + Vector128<ulong>.Count)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LoadOdd(float* source) =>
        Vector128.Narrow(Vector128.Load((ulong*)source) >>> 32, Vector128.Load((ulong*)source + Vector128<ulong>.Count) >>> 32).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreInTurn(Vector128<float> even, Vector128<float> odd, float* destination)
    {
        (Vector128.WidenLower(even.AsUInt32()) | (Vector128.WidenLower(odd.AsUInt32()) << 32)).Store((ulong*)destination);
        (Vector128.WidenUpper(even.AsUInt32()) | (Vector128.WidenUpper(odd.AsUInt32()) << 32)).Store((ulong*)destination + Vector128<ulong>.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Add(Vector128<float> left, Vector128<float> right) => left + right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Subtract(Vector128<float> left, Vector128<float> right) => left - right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Multiply(Vector128<float> left, Vector128<float> right) => left * right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Divide(Vector128<float> left, Vector128<float> right) => left / right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Max(Vector128<float> left, Vector128<float> right) => Vector128.Max(left, right);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxAcross(Vector128<float> value) => MathF.Max(MathF.Max(value[0], value[2]), MathF.Max(value[1], value[3]));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float SumAcross(Vector128<float> value) => (value[0] + value[2]) + (value[1] + value[3]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> MultiplyAdd(Vector128<float> left, Vector128<float> right, Vector128<float> addend) =>
        Vector128.MultiplyAddEstimate(left, right, addend);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> ScaleByPowerOfTwo(Vector128<float> value, Vector128<float> shiftedExponent) => (value.AsInt32() + (shiftedExponent.AsInt32() << 23)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> SelectLess(Vector128<float> left, Vector128<float> right, Vector128<float> whenTrue, Vector128<float> whenFalse) =>
        Vector128.ConditionalSelect(Vector128.LessThan(left, right), whenTrue, whenFalse);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Abs(Vector128<float> value) => Vector128.Abs(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<uint> WidenLoad(ushort* source) => Vector128.WidenLower(Vector128.CreateScalarUnsafe(*(ulong*)source).AsUInt16());
}
