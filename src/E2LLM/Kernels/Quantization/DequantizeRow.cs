using E2LLM.Kernels.Lanes;
using E2LLM.Kernels.MatMul;

namespace E2LLM.Kernels.Quantization;

/// <summary>A stored row to floats, bit for bit as llama.cpp gives it.</summary>
/// <remarks>
/// Shapes: stored <c>[columns]</c> in the type's blocks, y <c>[columns]</c>. No overlap. Numerics: the products and the difference that each format's definition has,
/// each rounded, never fused: <c>d * q</c>, <c>d * q + m</c>, or <c>(d * scale) * q - (dMin * minimum)</c>.
/// </remarks>
internal static unsafe class DequantizeRow
{
    /// <summary>Converts one row.</summary>
    internal static void Run(TensorType type, byte* stored, int columns, float* y)
    {
        switch (type)
        {
            case TensorType.F32:
                ToSingle.Run<SingleElement>(stored, columns, y);
                break;
            case TensorType.F16:
                ToSingle.Run<HalfElement>(stored, columns, y);
                break;
            case TensorType.BF16:
                ToSingle.Run<BFloat16Element>(stored, columns, y);
                break;
            case TensorType.Q8_0:
                Blocks<Bits8, Q8_0Format>(type, stored, columns, y);
                break;
            case TensorType.Q4_0:
                Blocks<Bits4, Q4_0Format>(type, stored, columns, y);
                break;
            case TensorType.Q4_1:
                Blocks<Bits4, Q4_1Format>(type, stored, columns, y);
                break;
            case TensorType.Q5_0:
                Blocks<Bits5, Q5_0Format>(type, stored, columns, y);
                break;
            case TensorType.Q5_1:
                Blocks<Bits5, Q5_1Format>(type, stored, columns, y);
                break;
            case TensorType.Q4_K:
                SuperBlocks<Bits4, Q4_KFormat>(type, stored, columns, y);
                break;
            case TensorType.Q5_K:
                SuperBlocks<Bits5, Q5_KFormat>(type, stored, columns, y);
                break;
            case TensorType.Q6_K:
                SuperBlocks<Bits6, Q6_KFormat>(type, stored, columns, y);
                break;
            default:
                throw new NotSupportedException($"Rows of type {type} cannot be converted to floats.");
        }
    }

    private static void Blocks<TLayout, TFormat>(TensorType type, byte* stored, int columns, float* y)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
    {
        int blockBytes = TensorTypeGeometry.BlockBytes(type);
        byte* values = stackalloc byte[32];
        for (int block = 0; block < columns / 32; block++, stored += blockBytes, y += 32)
        {
            float d = FloatLanesScalar.LoadHalf((ushort*)stored);
            float minimum = TFormat.HasMinimum ? FloatLanesScalar.LoadHalf((ushort*)stored + 1) : 0f;
            TFormat.Decode(stored + (TFormat.HasMinimum ? 4 : 2), values);
            for (int i = 0; i < 32; i++)
            {
                float product = d * (values[i] - TFormat.Bias);
                y[i] = TFormat.HasMinimum ? product + minimum : product;
            }
        }
    }

    private static void SuperBlocks<TLayout, TFormat>(TensorType type, byte* stored, int columns, float* y)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
    {
        int blockBytes = TensorTypeGeometry.BlockBytes(type), perScale = 32 / TFormat.ScalesPerSubBlock;
        byte* values = stackalloc byte[256], minima = stackalloc byte[8];
        sbyte* scales = stackalloc sbyte[16];
        ushort* factors = stackalloc ushort[2];
        for (int block = 0; block < columns / 256; block++, stored += blockBytes, y += 256)
        {
            TFormat.Decode(stored, values, scales, minima, factors);
            float d = FloatLanesScalar.LoadHalf(factors), dMin = TFormat.HasMinima ? FloatLanesScalar.LoadHalf(factors + 1) : 0f;
            for (int i = 0; i < 256; i++)
            {
                float product = d * scales[i / perScale] * (values[i] - TFormat.Bias);
                y[i] = TFormat.HasMinima ? product - (dMin * minima[i / 32]) : product;
            }
        }
    }
}
