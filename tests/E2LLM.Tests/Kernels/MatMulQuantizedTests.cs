using System.Runtime.InteropServices;
using E2LLM.Kernels.MatMul;
using E2LLM.Tests.Oracles;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Kernels;

public sealed unsafe class MatMulQuantizedTests
{
    public static TheoryData<string, TensorType> Paths
    {
        get
        {
            var data = new TheoryData<string, TensorType>();
            foreach (string path in QuantizedData.Paths.Where(QuantizedData.IsSupported))
            {
                foreach (TensorType type in QuantizedData.Types)
                {
                    data.Add(path, type);
                }
            }

            return data;
        }
    }

    public static TheoryData<TensorType> Types => [.. QuantizedData.Types];

    [Theory]
    [MemberData(nameof(Paths))]
    public void Multiply_AllLengths_EqualsDoublePrecision(string path, TensorType type)
    {
        int block = TensorTypeGeometry.BlockElementCount(type);
        for (int blocks = 0; blocks <= 8; blocks++)
        {
            Check(path, type, rows: (blocks * 11 % 53) + 1, blocks * block, tokens: (blocks % 6) + 1);
        }

        Check(path, type, 40, 2048, 5);
        Check(path, type, 16, 5632, 1);
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public void Multiply_CutAnyWay_GivesSameBits(string path, TensorType type)
    {
        const int Rows = 109, Columns = 512, Tokens = 11, Groups = 7;
        (sbyte[] quants, float[] scales, int[] sums, _) = QuantizedData.Quantize(type, KernelData.Normal(Tokens * Columns, 2));
        float[] whole = new float[Tokens * Rows], cut = new float[Tokens * Rows];
        int perToken = scales.Length / Tokens, sumsPerToken = sums.Length / Tokens;
        fixed (byte* w = KernelData.Pack(type, QuantizedData.Rows(type, Rows, Columns, 1), Rows, Columns))
        fixed (sbyte* q = quants)
        fixed (float* s = scales, y = whole, z = cut)
        fixed (int* sum = sums)
        {
            QuantizedData.Multiply(path, type, w, Rows, Columns, 0, Groups, q, s, sum, Tokens, y);
            foreach (int tokens in new[] { 1, 2, 3, 5 })
            {
                cut.AsSpan().Clear();
                for (int token = 0; token < Tokens; token += tokens)
                {
                    foreach ((int first, int end) in new[] { (0, 1), (1, 4), (4, Groups) })
                    {
                        QuantizedData.Multiply(
                            path, type, w, Rows, Columns, first, end, q + (token * Columns), s + (token * perToken), sum + (token * sumsPerToken),
                            Math.Min(tokens, Tokens - token), z + (token * Rows));
                    }
                }

                Assert.True(MemoryMarshal.AsBytes(whole.AsSpan()).SequenceEqual(MemoryMarshal.AsBytes(cut.AsSpan())), $"{tokens} tokens at a time");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Multiply_ManyTokens_GivesBitsOfOneByOne(TensorType type)
    {
        // More tokens than a block of them, more columns than a panel, a last group that is not whole.
        const int Rows = 41, Columns = 1280, Tokens = 530;
        float[] y = new float[Tokens * Rows], single = new float[Rows];
        (sbyte[] quants, float[] scales, int[] sums, _) = QuantizedData.Quantize(type, KernelData.Normal(Tokens * Columns, 12));
        int perToken = scales.Length / Tokens, sumsPerToken = sums.Length / Tokens;
        fixed (byte* w = KernelData.Pack(type, QuantizedData.Rows(type, Rows, Columns, 13), Rows, Columns))
        fixed (sbyte* q = quants)
        fixed (float* s = scales, all = y, one = single)
        fixed (int* sum = sums)
        {
            PackedMatrix.Multiply(type, w, Rows, Columns, 0, Rows, Both(q, s, sum), Tokens, all, Rows);
            for (int token = 0; token < Tokens; token++)
            {
                PackedMatrix.Multiply(type, w, Rows, Columns, 0, Rows, Both(q + (token * Columns), s + (token * perToken), sum + (token * sumsPerToken)), 1, one, Rows);
                Assert.True(MemoryMarshal.AsBytes(y.AsSpan(token * Rows, Rows)).SequenceEqual(MemoryMarshal.AsBytes(single.AsSpan())), $"token {token}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public void Multiply_ExtremeQuants_DoesNotSaturate(string path, TensorType type)
    {
        // All weights at one end of their range, all activations at +-127: every partial sum is as large as it can be.
        const int Columns = 512, Rows = 8;
        foreach (byte fill in new byte[] { 0x00, 0xFF, 0x80, 0x7F })
        {
            byte[] stored = QuantizedData.Rows(type, Rows, Columns, 3);
            int blockBytes = TensorTypeGeometry.BlockBytes(type), head = type == TensorType.Q6_K ? 0 : blockBytes - (type is TensorType.Q8_0 ? 32 : TensorTypeGeometry.BlockElementCount(type) / 2);
            for (int i = 0; i < stored.Length; i++)
            {
                int place = i % blockBytes;
                if (place >= head && (type != TensorType.Q6_K || place < 192))
                {
                    stored[i] = fill;
                }
            }

            foreach (float sign in new[] { 1f, -1f })
            {
                Check(path, type, stored, [.. Enumerable.Repeat(sign, Columns)], Rows, Columns, 1);
                Check(path, type, stored, [.. Enumerable.Repeat(sign, 3 * Columns)], Rows, Columns, 3);
                Check(path, type, stored, [.. Enumerable.Repeat(sign, 8 * Columns)], Rows, Columns, 8);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Multiply_QuantizedActivations_StayWithinTolerance(TensorType type)
    {
        // Against the truth with unquantised activations: what the 8 bits cost.
        const int Rows = 40, Columns = 2048, Tokens = 3;
        byte[] stored = QuantizedData.Rows(type, Rows, Columns, 5);
        float[] x = KernelData.Normal(Tokens * Columns, 6);
        float[] y = Run(Preferred(), type, stored, x, Rows, Columns, Tokens);
        Accuracy.AssertClose(KernelData.Multiply(QuantizedData.Dequantize(type, stored, Columns), x, Rows, Columns, Tokens), y, Accuracy.Quantized, type.ToString());
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Multiply_EveryVectorPath_GivesSameNumbers(TensorType type)
    {
        const int Rows = 33, Columns = 1024, Tokens = 6;
        byte[] stored = QuantizedData.Rows(type, Rows, Columns, 7);
        float[] x = KernelData.Normal(Tokens * Columns, 8), scalar = Run("Scalar", type, stored, x, Rows, Columns, Tokens);
        foreach (string path in QuantizedData.Paths.Where(QuantizedData.IsSupported))
        {
            // Integers are exact everywhere; only the rounding of multiply-add may differ.
            double[] expected = [.. scalar.Select(value => (double)value)];
            Accuracy.AssertClose(expected, Run(path, type, stored, x, Rows, Columns, Tokens), 1e-12, path);
        }
    }

    [Theory]
    [InlineData(TensorType.Q4_0, true)]
    [InlineData(TensorType.Q4_0, false)]
    [InlineData(TensorType.Q4_1, true)]
    [InlineData(TensorType.Q4_1, false)]
    public void Multiply_ScalesAndActivationsOfAnySize_GivesBitsOfOneByOne(TensorType type, bool narrow)
    {
        // Within a row scales lie five exponents apart at most (narrow), or anywhere down to the subnormal ones; some are zero, some negative. Activations go to both ends of floats.
        const int Rows = 96, Columns = 1312, Tokens = 61;
        var random = new Random(20);
        byte[] stored = QuantizedData.Rows(type, Rows, Columns, 21);
        int blockBytes = TensorTypeGeometry.BlockBytes(type), blocks = Columns / 32;
        for (int block = 0; block < stored.Length / blockBytes; block++)
        {
            int lowest = block / blocks % 32 / 2, exponent = narrow ? Math.Min(lowest + random.Next(lowest == 0 ? 6 : 5), 30) : random.Next(31);
            int bits = (random.Next(2) << 15) | (exponent << 10) | random.Next(1024);
            BitConverter.TryWriteBytes(stored.AsSpan(block * blockBytes), (ushort)(random.Next(20) == 0 ? bits & 0x8000 : bits));
        }

        float[] x = KernelData.Normal(Tokens * Columns, 22);
        for (int token = 0; token < Tokens; token += 2)
        {
            float size = MathF.Pow(10, token - 34);
            foreach (ref float value in x.AsSpan(token * Columns, Columns))
            {
                value *= size;
            }
        }

        (sbyte[] quants, float[] scales, int[] sums, _) = QuantizedData.Quantize(type, x);
        float[] y = new float[Tokens * Rows], single = new float[Rows];
        fixed (byte* w = KernelData.Pack(type, stored, Rows, Columns))
        fixed (sbyte* q = quants)
        fixed (float* s = scales, all = y, one = single)
        fixed (int* sum = sums)
        {
            PackedMatrix.Multiply(type, w, Rows, Columns, 0, Rows, Both(q, s, sum), Tokens, all, Rows);
            for (int token = 0; token < Tokens; token++)
            {
                PackedMatrix.Multiply(
                    type, w, Rows, Columns, 0, Rows, Both(q + (token * Columns), s + (token * (Columns / 32)), sum + (token * (Columns / 32))), 1, one, Rows);
                Assert.True(MemoryMarshal.AsBytes(y.AsSpan(token * Rows, Rows)).SequenceEqual(MemoryMarshal.AsBytes(single.AsSpan())), $"token {token}");
            }
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void Multiply_BrokenActivation_ReachesItsTokenOnly(TensorType type)
    {
        const int Rows = 16, Columns = 512, Tokens = 5;
        byte[] stored = QuantizedData.Rows(type, Rows, Columns, 9);
        foreach (float broken in new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity })
        {
            float[] x = KernelData.Normal(Tokens * Columns, 10);
            x[(2 * Columns) + 300] = broken;
            float[] y = Run(Preferred(), type, stored, x, Rows, Columns, Tokens);
            for (int i = 0; i < y.Length; i++)
            {
                Assert.Equal(i / Rows != 2, float.IsFinite(y[i]));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void PackThenUnpack_AnyBits_GivesThemBack(TensorType type)
    {
        const int Rows = 21, Columns = 768;
        byte[] stored = new byte[Rows * TensorTypeGeometry.RowBytes(type, Columns)];
        new Random(11).NextBytes(stored);
        int rowBytes = stored.Length / Rows, groupRows = PackedMatrix.GroupRows(type);
        byte[] packed = KernelData.Pack(type, stored, Rows, Columns), back = new byte[rowBytes];
        fixed (byte* p = packed, b = back)
        {
            for (int row = 0; row < Rows; row++)
            {
                PackedMatrix.UnpackRow(type, p + (row / groupRows * PackedMatrix.GroupBytes(type, Columns)), row % groupRows, Columns, b, rowBytes);
                Assert.Equal(stored.AsSpan(row * rowBytes, rowBytes).ToArray(), back);
            }
        }
    }

    private static Activations Both(sbyte* quants, float* scales, int* sums) =>
        new(null, new QuantizedActivations(quants, scales, sums), new SuperBlockActivations(quants, scales, (short*)sums));

    private static string Preferred() => QuantizedData.Paths.First(QuantizedData.IsSupported);

    private static void Check(string path, TensorType type, int rows, int columns, int tokens) => Check(
        path, type, QuantizedData.Rows(type, rows, columns, columns + 1), KernelData.Normal(tokens * columns, columns + 2), rows, columns, tokens);

    private static void Check(string path, TensorType type, byte[] stored, float[] x, int rows, int columns, int tokens)
    {
        float[] meant = QuantizedData.Quantize(type, x).Meant, weights = columns == 0 ? [] : QuantizedData.Dequantize(type, stored, columns);
        Accuracy.AssertClose(
            KernelData.Multiply(weights, meant, rows, columns, tokens), Run(path, type, stored, x, rows, columns, tokens), Accuracy.Float, $"{rows} x {columns}, {tokens} tokens");
    }

    private static float[] Run(string path, TensorType type, byte[] stored, float[] x, int rows, int columns, int tokens)
    {
        (sbyte[] quants, float[] scales, int[] sums, _) = QuantizedData.Quantize(type, x);
        using var w = new GuardedArray<byte>(KernelData.Pack(type, stored, rows, columns));
        using var q = new GuardedArray<sbyte>(quants);
        using var s = new GuardedArray<float>(scales);
        using var sum = new GuardedArray<int>(sums);
        using var y = new GuardedArray<float>(tokens * rows);
        QuantizedData.Multiply(path, type, w.Pointer, rows, columns, 0, (rows + 15) / 16, q.Pointer, s.Pointer, sum.Pointer, tokens, y.Pointer);
        return y.Span.ToArray();
    }
}
