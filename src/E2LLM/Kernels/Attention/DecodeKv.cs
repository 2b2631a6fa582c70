using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;
using E2LLM.Kernels.Quantization;

namespace E2LLM.Kernels.Attention;

/// <summary>Reads a stored block of one key/value head back as floats, in the layout it is stored in: the inverse of <see cref="EncodeKv"/> but for its rounding.</summary>
/// <remarks>
/// What lies at <c>next</c> will be read afterwards: it is fetched meanwhile, as many bytes as are read here. Null for nothing.
/// Shapes: keys <c>[headDim][64]</c> with scales <c>[headDim / 32][64]</c>; values <c>[64][valueStride]</c> with scales <c>[64][headDim / 32]</c>. No overlap. Numerics: exact
/// for F32, F16 and BF16; one product for Q8_0: the same bits at every width.
/// </remarks>
internal static unsafe class DecodeKv
{
    private const int Positions = AttentionBlock.Positions;

    /// <summary>Keys of one block and head.</summary>
    internal static void Keys(KvElementType type, byte* stored, ushort* scales, int headDim, float* keys, byte* next = null)
    {
        if (type != KvElementType.Q8_0)
        {
            ToSingle.Run(type, stored, (long)headDim * Positions, keys, next);
        }
        else if (Vector512.IsHardwareAccelerated)
        {
            QuantizedKeys<Vector512<float>, FloatLanes512>((sbyte*)stored, scales, headDim, keys, next);
        }
        else if (Vector256.IsHardwareAccelerated)
        {
            QuantizedKeys<Vector256<float>, FloatLanes256>((sbyte*)stored, scales, headDim, keys, next);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            QuantizedKeys<Vector128<float>, FloatLanes128>((sbyte*)stored, scales, headDim, keys, next);
        }
        else
        {
            QuantizedKeys<float, FloatLanesScalar>((sbyte*)stored, scales, headDim, keys, next);
        }
    }

    /// <summary>Values of one block and head.</summary>
    internal static void Values(KvElementType type, byte* stored, ushort* scales, int headDim, int valueStride, float* values, byte* next = null)
    {
        if (type != KvElementType.Q8_0)
        {
            ToSingle.Run(type, stored, (long)valueStride * Positions, values, next);
        }
        else if (Vector512.IsHardwareAccelerated)
        {
            QuantizedValues<Vector512<float>, FloatLanes512>((sbyte*)stored, scales, headDim, values, next);
        }
        else if (Vector256.IsHardwareAccelerated)
        {
            QuantizedValues<Vector256<float>, FloatLanes256>((sbyte*)stored, scales, headDim, values, next);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            QuantizedValues<Vector128<float>, FloatLanes128>((sbyte*)stored, scales, headDim, values, next);
        }
        else
        {
            QuantizedValues<float, FloatLanesScalar>((sbyte*)stored, scales, headDim, values, next);
        }
    }

    // Lanes are positions: each has a scale of its own.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void QuantizedKeys<TVector, TLanes>(sbyte* stored, ushort* scales, int headDim, float* keys, byte* next)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        next = next is null ? (byte*)stored : next;
        for (int element = 0; element < headDim; element++)
        {
            Prefetch.Line(next + (element * Positions));
            ushort* rowScales = scales + (element / ActivationBlock.Elements * Positions);
            for (int position = 0; position < Positions; position += TLanes.Count)
            {
                TVector scale = TLanes.LoadHalf(rowScales + position), quants = TLanes.LoadSByte(stored + position);
                TLanes.Store(TLanes.Multiply(quants, scale), keys + position);
            }

            stored += Positions;
            keys += Positions;
        }
    }

    // Lanes are elements of one head: 32 of them share a scale. Q8_0 heads are multiples of 32, so rows have no padding.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void QuantizedValues<TVector, TLanes>(sbyte* stored, ushort* scales, int headDim, float* values, byte* next)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        next = next is null ? (byte*)stored : next;
        for (int block = 0; block < Positions * headDim / ActivationBlock.Elements; block++)
        {
            Prefetch.Line(next + (block * ActivationBlock.Elements));
            TVector scale = TLanes.Broadcast(FloatLanesScalar.LoadHalf(scales + block));
            for (int i = 0; i < ActivationBlock.Elements; i += TLanes.Count)
            {
                TLanes.Store(TLanes.Multiply(TLanes.LoadSByte(stored + i), scale), values + i);
            }

            stored += ActivationBlock.Elements;
            values += ActivationBlock.Elements;
        }
    }
}
