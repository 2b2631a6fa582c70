using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using E2LLM.Kernels.MatMul;
using E2LLM.Kernels.Quantization;

namespace E2LLM.Tests.Kernels;

/// <summary>Random stored blocks of every quantised type, their meaning, and the products of a path of one's choice.</summary>
internal static unsafe class QuantizedData
{
    public static readonly TensorType[] Types =
    [
        TensorType.Q8_0, TensorType.Q4_0, TensorType.Q4_1, TensorType.Q5_0, TensorType.Q5_1, TensorType.Q4_K, TensorType.Q5_K, TensorType.Q6_K,
    ];

    public static readonly string[] Paths = ["Avx512", "Panels512", "Nibbles512", "AvxVnni", "Avx2", "Vector128", "Scalar"];

    public static bool IsSupported(string path) => path switch
    {
        "Avx512" or "Panels512" or "Nibbles512" => Avx512BW.IsSupported,
        "AvxVnni" => AvxVnni.IsSupported,
        "Avx2" => Avx2.IsSupported,
        "Vector128" => Vector128Dot<Bits8>.IsSupported,
        _ => true,
    };

    /// <summary>Rows of random bits, with factors that make weights of magnitude about one.</summary>
    public static byte[] Rows(TensorType type, int rows, int columns, int seed)
    {
        var random = new Random(seed);
        int blockBytes = TensorTypeGeometry.BlockBytes(type), blockElements = TensorTypeGeometry.BlockElementCount(type);
        byte[] stored = new byte[rows * TensorTypeGeometry.RowBytes(type, columns)];
        random.NextBytes(stored);
        for (int block = 0; block < stored.Length / blockBytes; block++)
        {
            Span<byte> bytes = stored.AsSpan(block * blockBytes, blockBytes);
            bool hasMinimum = type is TensorType.Q4_1 or TensorType.Q5_1 or TensorType.Q4_K or TensorType.Q5_K;
            Span<byte> factor = type == TensorType.Q6_K ? bytes[^2..] : bytes;
            float size = type == TensorType.Q8_0 ? 1f / 127 : blockElements == 32 ? 1f / 15 : type == TensorType.Q6_K ? 1f / (32 * 64) : 1f / (31 * 32);
            BitConverter.TryWriteBytes(factor, (Half)(size * (0.5f + random.NextSingle())));
            if (hasMinimum)
            {
                BitConverter.TryWriteBytes(bytes[2..], (Half)((blockElements == 32 ? -0.5f : 1f / 64) * (0.5f + random.NextSingle())));
            }
        }

        return stored;
    }

    public static float[] Dequantize(TensorType type, byte[] stored, int columns)
    {
        long rowBytes = TensorTypeGeometry.RowBytes(type, columns);
        int rows = (int)(stored.Length / rowBytes);
        float[] values = new float[rows * columns];
        fixed (byte* source = stored)
        fixed (float* target = values)
        {
            for (int row = 0; row < rows; row++)
            {
                DequantizeRow.Run(type, source + (row * rowBytes), columns, target + ((long)row * columns));
            }
        }

        return values;
    }

    /// <summary>Activations as the kernels see them: quantised, and what the quants mean.</summary>
    public static (sbyte[] Quants, float[] Scales, int[] Sums, float[] Meant) Quantize(TensorType type, float[] x)
    {
        bool super = TensorTypeGeometry.BlockElementCount(type) == 256;
        int block = super ? 256 : 32;
        sbyte[] quants = new sbyte[x.Length];
        float[] scales = new float[x.Length / block];

        // Sums of K activations are 16-bit; they share the array's bytes.
        int[] sums = new int[x.Length / 32];
        fixed (float* source = x, s = scales)
        fixed (sbyte* q = quants)
        fixed (int* sum = sums)
        {
            if (super)
            {
                QuantizeActivations256.Run(source, x.Length, q, s, (short*)sum);
            }
            else
            {
                QuantizeActivations.Run(source, x.Length, q, s, sum);
            }
        }

        return (quants, scales, sums, [.. quants.Select((quant, i) => quant * scales[i / block])]);
    }

    /// <summary>Product of rows [16 firstGroup, 16 endGroup) by one path.</summary>
    public static void Multiply(
        string path, TensorType type, byte* weights, int rows, int columns, int firstGroup, int endGroup, sbyte* quants, float* scales, int* sums, int tokens, float* y)
    {
        var blocks = new RowProduct<QuantizedActivations>(weights, rows, columns, firstGroup, endGroup, new QuantizedActivations(quants, scales, sums), tokens, y, rows);
        var superBlocks = new RowProduct<SuperBlockActivations>(
            weights, rows, columns, firstGroup, endGroup, new SuperBlockActivations(quants, scales, (short*)sums), tokens, y, rows);
        switch (type)
        {
            case TensorType.Q8_0:
                Blocks<Bits8, Q8_0Format>(path, blocks);
                break;
            case TensorType.Q4_0:
                Blocks<Bits4, Q4_0Format>(path, blocks);
                break;
            case TensorType.Q4_1:
                Blocks<Bits4, Q4_1Format>(path, blocks);
                break;
            case TensorType.Q5_0:
                Blocks<Bits5, Q5_0Format>(path, blocks);
                break;
            case TensorType.Q5_1:
                Blocks<Bits5, Q5_1Format>(path, blocks);
                break;
            case TensorType.Q4_K:
                SuperBlocks<Bits4, Q4_KFormat>(path, superBlocks);
                break;
            case TensorType.Q5_K:
                SuperBlocks<Bits5, Q5_KFormat>(path, superBlocks);
                break;
            default:
                SuperBlocks<Bits6, Q6_KFormat>(path, superBlocks);
                break;
        }
    }

    private static void Blocks<TLayout, TFormat>(string path, RowProduct<QuantizedActivations> product)
        where TLayout : IQuantLayout
        where TFormat : IQuantizedFormat<TLayout>
    {
        switch (path)
        {
            case "Avx512" when TLayout.MaxQuant < 128:
                product.Run<QuantizedTile512<TLayout, TFormat>>();
                break;
            case "Panels512" when PanelDot512.Takes<TLayout>():
                product.Run<QuantizedTile512<TLayout, TFormat>, QuantizedPanel512<TLayout, TFormat>>(minTokens: 1);
                break;
            case "Nibbles512" when PanelDot512.Takes<TLayout>():
                product.Run<QuantizedTile512<TLayout, TFormat>, NibblePanel512<TLayout, TFormat>, QuantizedPanel512<TLayout, TFormat>>(minTokens: 1);
                break;
            case "Avx512" or "Panels512" or "Nibbles512":
                MatMulQuantized.Multiply<TLayout, TFormat>(product);
                break;
            case "AvxVnni":
                product.Run<QuantizedTile<TLayout, TFormat, AvxVnniDot>>();
                break;
            case "Avx2" when TLayout.MaxQuant > 127:
                product.Run<QuantizedTile<TLayout, TFormat, Avx2SignedDot>>();
                break;
            case "Avx2":
                product.Run<QuantizedTile<TLayout, TFormat, Avx2Dot>>();
                break;
            case "Vector128":
                product.Run<QuantizedTile<TLayout, TFormat, Vector128Dot<TLayout>>>();
                break;
            default:
                product.Run<QuantizedTileScalar<TLayout, TFormat>>();
                break;
        }
    }

    private static void SuperBlocks<TLayout, TFormat>(string path, RowProduct<SuperBlockActivations> product)
        where TLayout : IQuantLayout
        where TFormat : ISuperBlockFormat<TLayout>
    {
        switch (path)
        {
            case "Panels512" or "Nibbles512" when PanelDot512.Takes<TLayout>():
                product.Run<SuperBlockTile512<TLayout, TFormat>, SuperBlockPanel512<TLayout, TFormat>>(minTokens: 1);
                break;
            case "Avx512" or "Panels512" or "Nibbles512":
                product.Run<SuperBlockTile512<TLayout, TFormat>>();
                break;
            case "AvxVnni":
                product.Run<SuperBlockTile<TLayout, TFormat, AvxVnniDot>>();
                break;
            case "Avx2":
                product.Run<SuperBlockTile<TLayout, TFormat, Avx2Dot>>();
                break;
            case "Vector128":
                product.Run<SuperBlockTile<TLayout, TFormat, Vector128Dot<TLayout>>>();
                break;
            default:
                product.Run<SuperBlockTileScalar<TLayout, TFormat>>();
                break;
        }
    }
}
