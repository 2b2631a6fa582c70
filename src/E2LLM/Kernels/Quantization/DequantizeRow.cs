using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.Quantization;

/// <summary>A stored row to floats, bit for bit as llama.cpp gives it.</summary>
/// <remarks>Shapes: stored <c>[columns]</c> in the type's blocks, y <c>[columns]</c>. No overlap. Numerics: the one product (and difference) that each format's definition has.</remarks>
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
                RunQ8_0(stored, columns, y);
                break;
            default:
                throw new NotSupportedException($"Rows of type {type} cannot be converted to floats.");
        }
    }

    private static void RunQ8_0(byte* stored, int columns, float* y)
    {
        for (int block = 0; block < columns / 32; block++, stored += 34, y += 32)
        {
            float scale = FloatLanesScalar.LoadHalf((ushort*)stored);
            for (int i = 0; i < 32; i++)
            {
                y[i] = scale * (sbyte)stored[2 + i];
            }
        }
    }
}
