using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Kernels;

/// <summary>
/// Stored blocks mean what llama.cpp reads from them, bit for bit. The golden hashes are llama.cpp's own (npm package 3.22.1), written by
/// <c>benchmarks/peers/dequantize.mjs</c>, which also says how the blocks are made.
/// </summary>
public sealed class DequantizeGoldenTests
{
    private const int BlockCount = 64;

    public static TheoryData<TensorType> Types =>
    [
        TensorType.Q4_0, TensorType.Q4_1, TensorType.Q5_0, TensorType.Q5_1, TensorType.Q8_0, TensorType.Q4_K, TensorType.Q5_K, TensorType.Q6_K, TensorType.BF16,
    ];

    [Theory]
    [MemberData(nameof(Types))]
    public void Dequantize_PseudoRandomBlocks_EqualsLlamaCppBitForBit(TensorType type)
    {
        using JsonDocument golden = JsonDocument.Parse(File.ReadAllText(Repository.PathOf("tests/E2LLM.Tests/Golden/dequantize.json")));
        float[] values = QuantizedData.Dequantize(type, Blocks(type), BlockCount * TensorTypeGeometry.BlockElementCount(type));
        Assert.All(values, value => Assert.True(float.IsFinite(value)));
        string hash = Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes(values.AsSpan())));
        Assert.Equal(golden.RootElement.GetProperty(type.ToString()).GetString(), hash);
    }

    private static byte[] Blocks(TensorType type)
    {
        int bytes = TensorTypeGeometry.BlockBytes(type);
        byte[] stored = new byte[BlockCount * bytes];
        uint x = 1;
        for (int i = 0; i < stored.Length; i++)
        {
            x = (x * 1664525) + 1013904223;
            stored[i] = (byte)(x >> 24);
        }

        int[] factors = type switch
        {
            TensorType.Q6_K => [208],
            TensorType.Q4_1 or TensorType.Q5_1 or TensorType.Q4_K or TensorType.Q5_K => [0, 2],
            _ => [0],
        };
        for (int block = 0; block < BlockCount; block++)
        {
            foreach (int at in factors)
            {
                stored[(block * bytes) + at + 1] &= 0xBF;
            }
        }

        return stored;
    }
}
