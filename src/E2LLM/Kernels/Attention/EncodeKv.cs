using E2LLM.Kernels.Coding;
using E2LLM.Kernels.Quantization;

namespace E2LLM.Kernels.Attention;

/// <summary>Stores one head of keys or values: <c>stored[i * stride] = encode(x[i])</c>.</summary>
/// <remarks>
/// Shapes: x <c>[headDim]</c>; stored elements stride apart; scales (Q8_0 only) one per 32 elements, scaleStride apart. No overlap. Numerics: F16 and
/// BF16 round to nearest, ties to even; Q8_0 as <see cref="QuantizeActivations"/>, with the scale rounded to half precision.
/// </remarks>
internal static unsafe class EncodeKv
{
    /// <summary>Stores one head.</summary>
    internal static void Run(KvElementType type, float* x, int headDim, byte* stored, int stride, ushort* scales, int scaleStride)
    {
        switch (type)
        {
            case KvElementType.F32:
                for (int i = 0; i < headDim; i++)
                {
                    ((float*)stored)[(nint)i * stride] = x[i];
                }

                break;
            case KvElementType.F16 or KvElementType.BF16:
                Narrow(type, x, headDim, (ushort*)stored, stride);
                break;
            case KvElementType.Q8_0:
                Quantize(x, headDim, (sbyte*)stored, stride, scales, scaleStride);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(type), type, "Unknown KV element type.");
        }
    }

    /// <summary>Rounds to the nearest bfloat16, ties to even; NaN stays NaN.</summary>
    internal static ushort ToBFloat16(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)((bits >> 16) | 0x40) : (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }

    private static void Narrow(KvElementType type, float* x, int headDim, ushort* stored, int stride)
    {
        if (stride == 1)
        {
            FromSingle.Run(type, x, headDim, (byte*)stored);
            return;
        }

        const int Piece = 128;
        ushort* narrow = stackalloc ushort[Piece];
        for (int first = 0; first < headDim; first += Piece)
        {
            int count = Math.Min(Piece, headDim - first);
            FromSingle.Run(type, x + first, count, (byte*)narrow);
            for (int i = 0; i < count; i++)
            {
                stored[(nint)(first + i) * stride] = narrow[i];
            }
        }
    }

    private static void Quantize(float* x, int headDim, sbyte* stored, int stride, ushort* scales, int scaleStride)
    {
        sbyte* quants = stackalloc sbyte[ActivationBlock.Elements];
        for (int block = 0; block < headDim / ActivationBlock.Elements; block++)
        {
            float scale;
            int sum;
            QuantizeActivations.Run(x + (block * ActivationBlock.Elements), ActivationBlock.Elements, quants, &scale, &sum);
            scales[block * scaleStride] = BitConverter.HalfToUInt16Bits((Half)scale);
            for (int i = 0; i < ActivationBlock.Elements; i++)
            {
                stored[((nint)(block * ActivationBlock.Elements) + i) * stride] = quants[i];
            }
        }
    }
}
