using System.Runtime.CompilerServices;
using E2LLM.Kernels.Lanes;
using E2LLM.Kernels.MatMul;

namespace E2LLM.Kernels.Attention;

/// <summary>binary32.</summary>
internal readonly unsafe struct SinglePair : IStoredPair
{
    public static int Bytes => sizeof(float);

    public static bool InTurn => false;

    public static bool IsHalf => false;

    public static nint ScaleRow(nint k) => 0;

    public static nint ScaleOf(int column) => 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector First<TVector, TLanes>(byte* source, float* scales, TVector bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.Load((float*)source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Second<TVector, TLanes>(byte* source, float* scales, TVector bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.Load((float*)source + TLanes.Count);

    public static void RunPlain<TVector, TLanes>(
        byte* w, byte* w1, nint strideBytes, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, nint second, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> =>
        FloatTile.Run<TVector, TLanes, SingleElement>(w, w1, strideBytes, x, xStride, rowCount, depth, y, yStride, second, accumulate);
}

/// <summary>binary16: a vector of 32-bit words holds two elements a lane. They are widened without their bias, which a product with 2^112 puts back.</summary>
internal readonly unsafe struct HalfPair : IStoredPair
{
    public static int Bytes => sizeof(ushort);

    public static bool InTurn => true;

    public static bool IsHalf => true;

    public static nint ScaleRow(nint k) => 0;

    public static nint ScaleOf(int column) => 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector First<TVector, TLanes>(byte* source, float* scales, TVector bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.Multiply(TLanes.LoadLowHalves((uint*)source), bias);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Second<TVector, TLanes>(byte* source, float* scales, TVector bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.Multiply(TLanes.LoadHighHalves((uint*)source), bias);

    public static void RunPlain<TVector, TLanes>(
        byte* w, byte* w1, nint strideBytes, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, nint second, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> =>
        FloatTile.Run<TVector, TLanes, HalfElement>(w, w1, strideBytes, x, xStride, rowCount, depth, y, yStride, second, accumulate);
}

/// <summary>bfloat16, in words as <see cref="HalfPair"/>: each half of a word is the upper half of the float that it means.</summary>
internal readonly unsafe struct BFloat16Pair : IStoredPair
{
    public static int Bytes => sizeof(ushort);

    public static bool InTurn => true;

    public static bool IsHalf => false;

    public static nint ScaleRow(nint k) => 0;

    public static nint ScaleOf(int column) => 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector First<TVector, TLanes>(byte* source, float* scales, TVector bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.LoadLowBFloat16((uint*)source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Second<TVector, TLanes>(byte* source, float* scales, TVector bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.LoadHighBFloat16((uint*)source);

    public static void RunPlain<TVector, TLanes>(
        byte* w, byte* w1, nint strideBytes, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, nint second, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> =>
        FloatTile.Run<TVector, TLanes, BFloat16Element>(w, w1, strideBytes, x, xStride, rowCount, depth, y, yStride, second, accumulate);
}

/// <summary>Keys of Q8_0: a scale for each position and 32 elements, that is a row of scales for 32 rows of bytes.</summary>
internal readonly unsafe struct QuantizedKeyPair : IStoredPair
{
    public static int Bytes => sizeof(sbyte);

    public static bool InTurn => false;

    public static bool IsHalf => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static nint ScaleRow(nint k) => k >> 5;

    public static nint ScaleOf(int column) => column;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector First<TVector, TLanes>(byte* source, float* scales, TVector bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.Multiply(TLanes.LoadSByte((sbyte*)source), TLanes.Load(scales));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Second<TVector, TLanes>(byte* source, float* scales, TVector bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.Multiply(TLanes.LoadSByte((sbyte*)source + TLanes.Count), TLanes.Load(scales + TLanes.Count));

    public static void RunPlain<TVector, TLanes>(
        byte* w, byte* w1, nint strideBytes, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, nint second, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => throw new NotSupportedException("64 positions are whole pairs.");
}

/// <summary>Values of Q8_0: a scale for 32 elements of a position, of which a pair is a part.</summary>
internal readonly unsafe struct QuantizedValuePair : IStoredPair
{
    public static int Bytes => sizeof(sbyte);

    public static bool InTurn => false;

    public static bool IsHalf => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static nint ScaleRow(nint k) => k;

    public static nint ScaleOf(int column) => column / 32;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector First<TVector, TLanes>(byte* source, float* scales, TVector bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.Multiply(TLanes.LoadSByte((sbyte*)source), TLanes.Broadcast(*scales));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Second<TVector, TLanes>(byte* source, float* scales, TVector bias)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => TLanes.Multiply(TLanes.LoadSByte((sbyte*)source + TLanes.Count), TLanes.Broadcast(*scales));

    public static void RunPlain<TVector, TLanes>(
        byte* w, byte* w1, nint strideBytes, float* x, nint xStride, int rowCount, int depth, float* y, nint yStride, nint second, bool accumulate)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector> => throw new NotSupportedException("Heads of Q8_0 are multiples of 32 elements, whole pairs.");
}
