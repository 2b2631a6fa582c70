using System.Runtime.InteropServices;
using E2LLM.Kernels.Attention;
using E2LLM.Tests.Oracles;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Kernels;

public sealed unsafe class AttentionTests
{
    public static TheoryData<string> Widths512 => [.. KernelData.Widths];

    [Theory]
    [MemberData(nameof(Widths512))]
    public void Fold_AnyShape_EqualsDoublePrecisionSoftmax(string width)
    {
        foreach ((int tokens, int heads, int headDim, int firstPosition) in new[]
        {
            (1, 1, 16, 0), (1, 8, 64, 63), (1, 4, 32, 64), (3, 2, 8, 62), (5, 1, 48, 200), (8, 4, 64, 0), (2, 7, 128, 129), (65, 1, 16, 0),
        })
        {
            var problem = new Problem(tokens, heads, headDim, firstPosition, seed: headDim + firstPosition);
            Accuracy.AssertClose(problem.Expected(), problem.Run(width), Accuracy.Float, $"{tokens} tokens, {heads} heads of {headDim}, from {firstPosition}");
        }
    }

    [Theory]
    [MemberData(nameof(Widths512))]
    public void Fold_WhatLiesBehindTheLastPosition_ChangesNoBit(string width)
    {
        var problem = new Problem(3, 4, 32, 70, seed: 9);
        float[] clean = problem.Run(width);
        problem.Poison();
        Assert.True(MemoryMarshal.AsBytes(clean.AsSpan()).SequenceEqual(MemoryMarshal.AsBytes(problem.Run(width).AsSpan())));
    }

    [Theory]
    [MemberData(nameof(Widths512))]
    public void Fold_TokensTogether_EqualsEachAlone(string width)
    {
        var together = new Problem(6, 2, 32, 60, seed: 12);
        float[] all = together.Run(width);
        for (int token = 0; token < 6; token++)
        {
            float[] alone = together.Only(token).Run(width);
            Assert.True(MemoryMarshal.AsBytes(all.AsSpan(token * 2 * 32, 2 * 32)).SequenceEqual(MemoryMarshal.AsBytes(alone.AsSpan())), $"token {token}");
        }
    }

    [Fact]
    public void Fold_LargeScores_DoNotOverflow()
    {
        var problem = new Problem(2, 2, 16, 100, seed: 4, scale: 40f);
        float[] result = problem.Run("Scalar");
        Assert.All(result, value => Assert.True(float.IsFinite(value)));
        Accuracy.AssertClose(problem.Expected(), result, 1e-6, "scores of several thousands");
    }

    [Fact]
    public void Merge_PartsOfTheContext_EqualsDoublePrecision()
    {
        // Softmax over two halves, merged, against softmax over both.
        float[] a = KernelData.Normal(40, 1), b = KernelData.Normal(40, 2);
        (float maximum, float sum, float output) = Part(a);
        (float otherMaximum, float otherSum, float otherOutput) = Part(b);
        MergeAttention.Run(&maximum, &sum, &output, otherMaximum, otherSum, &otherOutput, 1);
        double weights = a.Concat(b).Sum(s => Math.Exp(s)), values = a.Concat(b).Sum(s => Math.Exp(s) * Math.Cos(s));
        Assert.Equal(values / weights, output / sum, 1e-6);

        // An empty part, before or after, leaves the other as it is.
        (float m, float l, float o) = (float.NegativeInfinity, 0f, 0f);
        MergeAttention.Run(&m, &l, &o, maximum, sum, &output, 1);
        Assert.Equal((maximum, sum, output), (m, l, o));
        float nothing = 0f;
        MergeAttention.Run(&m, &l, &o, float.NegativeInfinity, 0f, &nothing, 1);
        Assert.Equal((maximum, sum, output), (m, l, o));

        static (float Maximum, float Sum, float Output) Part(float[] scores)
        {
            float maximum = scores.Max();
            return (maximum, scores.Sum(s => MathF.Exp(s - maximum)), scores.Sum(s => MathF.Exp(s - maximum) * MathF.Cos(s)));
        }
    }

    [Theory]
    [InlineData(KvElementType.F32, 0)]
    [InlineData(KvElementType.F16, 1e-7)]
    [InlineData(KvElementType.BF16, 1e-5)]
    [InlineData(KvElementType.Q8_0, 1e-4)]
    public void EncodeThenDecode_KeysAndValues_GiveThemBackRounded(KvElementType type, double nmse)
    {
        const int HeadDim = 64, Positions = 64;
        float[] heads = KernelData.Normal(Positions * HeadDim, 3), keys = new float[HeadDim * Positions], values = new float[Positions * HeadDim];
        int elementBytes = type == KvElementType.F32 ? 4 : type == KvElementType.Q8_0 ? 1 : 2;
        using var storedKeys = new GuardedArray<byte>(HeadDim * Positions * elementBytes);
        using var storedValues = new GuardedArray<byte>(HeadDim * Positions * elementBytes);
        using var keyScales = new GuardedArray<ushort>(HeadDim / 32 * Positions);
        using var valueScales = new GuardedArray<ushort>(HeadDim / 32 * Positions);
        fixed (float* source = heads, k = keys, v = values)
        {
            for (int position = 0; position < Positions; position++)
            {
                EncodeKv.Run(type, source + (position * HeadDim), HeadDim, storedKeys.Pointer + (position * elementBytes), Positions, keyScales.Pointer + position, Positions);
                EncodeKv.Run(
                    type, source + (position * HeadDim), HeadDim, storedValues.Pointer + (position * HeadDim * elementBytes), 1, valueScales.Pointer + (position * HeadDim / 32), 1);
            }

            DecodeKv.Keys(type, storedKeys.Pointer, keyScales.Pointer, HeadDim, k);
            DecodeKv.Values(type, storedValues.Pointer, valueScales.Pointer, HeadDim, HeadDim, v);
        }

        for (int i = 0; i < heads.Length; i++)
        {
            // Keys lie transposed, but hold the same numbers.
            Assert.Equal(values[i], keys[(i % HeadDim * Positions) + (i / HeadDim)]);
        }

        Accuracy.AssertClose([.. heads.Select(value => (double)value)], values, nmse, type.ToString());
    }

    [Theory]
    [InlineData(KvElementType.F16)]
    [InlineData(KvElementType.BF16)]
    public void Encode_AnyHead_LiesAStrideApartAsWithoutOne(KvElementType type)
    {
        foreach (int headDim in new[] { 1, 17, 128, 200, 256 })
        {
            using var x = new GuardedArray<float>(KernelData.Normal(headDim, headDim));
            ushort[] dense = new ushort[headDim], spread = new ushort[headDim * 3];
            fixed (ushort* together = dense, apart = spread)
            {
                EncodeKv.Run(type, x.Pointer, headDim, (byte*)together, 1, null, 0);
                EncodeKv.Run(type, x.Pointer, headDim, (byte*)apart, 3, null, 0);
            }

            for (int i = 0; i < headDim; i++)
            {
                ushort expected = type == KvElementType.F16 ? BitConverter.HalfToUInt16Bits((Half)x.Span[i]) : EncodeKv.ToBFloat16(x.Span[i]);
                Assert.Equal((expected, expected, 0, 0), (dense[i], spread[3 * i], spread[(3 * i) + 1], spread[(3 * i) + 2]));
            }
        }
    }

    [Theory]
    [InlineData(1.00390625f, 0x3F80)]
    [InlineData(1.01171875f, 0x3F82)]
    [InlineData(-0f, 0x8000)]
    [InlineData(float.PositiveInfinity, 0x7F80)]
    [InlineData(float.MaxValue, 0x7F80)]
    public void ToBFloat16_Ties_RoundToEven(float value, int bits) => Assert.Equal(bits, EncodeKv.ToBFloat16(value));

    [Fact]
    public void ToBFloat16_NaN_StaysNaN() => Assert.True(float.IsNaN(BitConverter.UInt32BitsToSingle((uint)EncodeKv.ToBFloat16(BitConverter.UInt32BitsToSingle(0x7F80_0001u)) << 16)));

    /// <summary>Queries at some positions of one sequence, keys and values of all positions up to theirs.</summary>
    private sealed class Problem
    {
        private readonly int _tokens, _heads, _headDim, _first, _stride;
        private readonly float[] _queries, _keys, _values;

        public Problem(int tokens, int heads, int headDim, int firstPosition, int seed, float scale = 1f)
        {
            (_tokens, _heads, _headDim, _first, _stride) = (tokens, heads, headDim, firstPosition, (headDim + 15) / 16 * 16);
            int blocks = (firstPosition + tokens + 63) / 64;
            _queries = KernelData.Normal(tokens * heads * headDim, seed, scale);
            _keys = KernelData.Normal(blocks * 64 * headDim, seed + 1, scale);
            _values = KernelData.Normal(blocks * 64 * _stride, seed + 2);
        }

        private Problem(Problem other, int token)
        {
            (_tokens, _heads, _headDim, _first, _stride) = (1, other._heads, other._headDim, other._first + token, other._stride);
            _queries = other._queries.AsSpan(token * _heads * _headDim, _heads * _headDim).ToArray();
            (_keys, _values) = (other._keys, other._values);
        }

        public Problem Only(int token) => new(this, token);

        public void Poison()
        {
            for (int position = _first + _tokens; position < _keys.Length / _headDim; position++)
            {
                for (int i = 0; i < _headDim; i++)
                {
                    _keys[(position / 64 * 64 * _headDim) + (i * 64) + (position % 64)] = float.NaN;
                }

                _values.AsSpan(position * _stride, _stride).Fill(float.PositiveInfinity);
            }
        }

        public float[] Run(string width)
        {
            int rows = _tokens * _heads;
            using var queries = new GuardedArray<float>(_queries);
            using var scores = new GuardedArray<float>(rows * 64);
            using var state = new GuardedArray<float>(rows * (2 + _stride));
            var tile = new AttentionRows(
                _tokens, _heads, _headDim, _stride, queries.Pointer, scores.Pointer, state.Pointer, state.Pointer + rows, state.Pointer + (2 * rows));
            tile.Clear();
            for (int block = 0; block * 64 < _first + _tokens; block++)
            {
                using var keys = new GuardedArray<float>(_keys.AsSpan(block * 64 * _headDim, 64 * _headDim));
                using var values = new GuardedArray<float>(_values.AsSpan(block * 64 * _stride, 64 * _stride));
                int seen = _first + 1 - (block * 64), skipped = Math.Max(0, 1 - seen);
                Widths.Fold(width, tile.From(skipped), keys.Pointer, values.Pointer, seen + skipped);
            }

            float[] result = new float[rows * _headDim];
            for (int i = 0; i < result.Length; i++)
            {
                result[i] = tile.Outputs[(i / _headDim * _stride) + (i % _headDim)] / tile.Sums[i / _headDim];
            }

            return result;
        }

        public double[] Expected()
        {
            double[] result = new double[_tokens * _heads * _headDim];
            for (int row = 0; row < _tokens * _heads; row++)
            {
                int count = _first + (row / _heads) + 1;
                double[] scores = new double[count];
                for (int position = 0; position < count; position++)
                {
                    for (int i = 0; i < _headDim; i++)
                    {
                        scores[position] += (double)_queries[(row * _headDim) + i] * _keys[(position / 64 * 64 * _headDim) + (i * 64) + (position % 64)];
                    }
                }

                double largest = scores.Max(), sum = scores.Sum(score => Math.Exp(score - largest));
                for (int position = 0; position < count; position++)
                {
                    for (int i = 0; i < _headDim; i++)
                    {
                        result[(row * _headDim) + i] += Math.Exp(scores[position] - largest) / sum * _values[(position * _stride) + i];
                    }
                }
            }

            return result;
        }
    }
}
