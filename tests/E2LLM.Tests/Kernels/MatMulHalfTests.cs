using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;
using E2LLM.Kernels.MatMul;

namespace E2LLM.Tests.Kernels;

/// <summary>What binary16 weights alone have: an encoding of their own, and a second layout for groups that it does not fit.</summary>
public sealed unsafe class MatMulHalfTests
{
    public static TheoryData<string> Widths => new(KernelData.Widths);

    [Theory]
    [MemberData(nameof(Widths))]
    public void EncodedWords_EveryHalfBelow128_WidenExactly(string width)
    {
        ushort[] halves = [.. Enumerable.Range(0, 65536).Select(bits => (ushort)bits).Where(bits => MathF.Abs((float)BitConverter.UInt16BitsToHalf(bits)) < 128f)];
        uint[] words = [.. halves.Select((half, i) => (uint)(PackedHalfRows.Encode(half) | (PackedHalfRows.Encode(halves[^(i + 1)]) << 16)))];
        Assert.Equal(0, words.Length % 16);
        float[] low = new float[words.Length], high = new float[words.Length];
        for (int i = 0; i < words.Length; i += 16)
        {
            fixed (uint* source = &words[i])
            fixed (float* first = &low[i], second = &high[i])
            {
                Load(width, source, first, second);
            }
        }

        for (int i = 0; i < words.Length; i++)
        {
            Assert.Equal(Bits(halves[i]), BitConverter.SingleToInt32Bits(low[i] * PackedHalfRows.Scale));
            Assert.Equal(Bits(halves[^(i + 1)]), BitConverter.SingleToInt32Bits(high[i] * PackedHalfRows.Scale));
            Assert.True(low[i] == 0f || float.IsNormal(low[i]), $"{halves[i]:X4} is widened by way of a subnormal");
        }
    }

    [Theory]
    [InlineData(0x5800 - 1, false)]
    [InlineData(0x5800, true)]
    [InlineData(0x7C00, true)]
    [InlineData(0xFE00, true)]
    public void PackGroup_EveryHalf_ComesBack(int largest, bool plain)
    {
        const int Rows = 13, Columns = 2521;
        ushort[] halves = [.. Enumerable.Range(0, Rows * Columns).Select(i => (ushort)((i % 0x5800) | (i % 2 << 15)))];
        halves[^1] = (ushort)largest;
        fixed (byte* packed = KernelData.Pack(TensorType.F16, MemoryMarshal.AsBytes(halves.AsSpan()).ToArray(), Rows, Columns))
        {
            Assert.Equal(plain, PackedHalfRows.IsPlain(packed, Columns));
            ushort[] row = new ushort[Columns];
            for (int r = 0; r < Rows; r++)
            {
                fixed (ushort* target = row)
                {
                    PackedHalfRows.UnpackRow(packed, r, Columns, target);
                }

                Assert.True(row.AsSpan().SequenceEqual(halves.AsSpan(r * Columns, Columns)), $"row {r}");
            }
        }
    }

    // Groups 0 and 3 are encoded, group 1 holds numbers from 128 on, group 2 subnormal and small ones, group 4 is not full.
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(7)]
    [InlineData(30)]
    public void Multiply_SmallAndLargeHalves_GivesTheBitsOfTheSameSingles(int tokens)
    {
        const int Rows = 75, Columns = 301;
        float[] values = KernelData.Normal(Rows * Columns, 5);
        for (int i = 0; i < values.Length; i++)
        {
            float factor = (i / Columns / 16) switch { 1 => 60f, 2 => 6e-5f, _ => 1f };
            values[i] = (float)(Half)(values[i] * factor);
        }

        byte[] half = KernelData.Pack(TensorType.F16, KernelData.Encode(TensorType.F16, values), Rows, Columns), single = KernelData.Pack(TensorType.F32, KernelData.Encode(TensorType.F32, values), Rows, Columns);
        float[] x = KernelData.Normal(tokens * Columns, 6);
        foreach (string width in KernelData.Widths)
        {
            Assert.True(Product(width, TensorType.F32, single, x, Rows, Columns, tokens).AsSpan().SequenceEqual(Product(width, TensorType.F16, half, x, Rows, Columns, tokens)), width);
        }
    }

    private static int Bits(ushort half) => BitConverter.SingleToInt32Bits((float)BitConverter.UInt16BitsToHalf(half));

    private static float[] Product(string width, TensorType type, byte[] packed, float[] x, int rows, int columns, int tokens)
    {
        float[] y = new float[tokens * rows];
        fixed (byte* w = packed)
        fixed (float* a = x, b = y)
        {
            MatMulFloatTests.Run(width, type, new MatMulFloat.Call(w, rows, columns, 0, (rows + 15) / 16, a, tokens, b, rows));
        }

        return y;
    }

    private static void Load(string width, uint* words, float* low, float* high)
    {
        switch (width)
        {
            case "Vector512":
                Load<Vector512<float>, FloatLanes512>(words, low, high);
                break;
            case "Vector256":
                Load<Vector256<float>, FloatLanes256>(words, low, high);
                break;
            case "Vector128":
                Load<Vector128<float>, FloatLanes128>(words, low, high);
                break;
            default:
                Load<float, FloatLanesScalar>(words, low, high);
                break;
        }
    }

    private static void Load<TVector, TLanes>(uint* words, float* low, float* high)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        for (int i = 0; i < 16; i += TLanes.Count)
        {
            TLanes.Store(TLanes.LoadLowHalves(words + i), low + i);
            TLanes.Store(TLanes.LoadHighHalves(words + i), high + i);
        }
    }
}
