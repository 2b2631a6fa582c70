using E2LLM.Kernels.Quantization;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Kernels;

public sealed unsafe class QuantizeActivationsTests
{
    [Theory]
    [InlineData(32)]
    [InlineData(256)]
    public void Run_EveryPath_GivesRoundedQuantsAndTheirSums(int block)
    {
        for (int blocks = 0; blocks <= 9; blocks++)
        {
            float[] values = KernelData.Normal(blocks * block, blocks + block, 3f);
            if (blocks > 2)
            {
                values.AsSpan(0, block).Clear();
                values.AsSpan(block, block).Fill(1e-38f);
                values[2 * block] = -50f;
            }

            using var x = new GuardedArray<float>(values);
            (sbyte[] quants, float[] scales, int[] sums) = Run(block, x, vector: true);
            (sbyte[] plainQuants, float[] plainScales, int[] plainSums) = Run(block, x, vector: false);
            Assert.Equal(plainQuants, quants);
            Assert.Equal(plainScales, scales);
            Assert.Equal(plainSums, sums);
            int perSum = block == 32 ? 32 : 16;
            for (int i = 0; i < values.Length; i++)
            {
                double largest = values.AsSpan(i / block * block, block).ToArray().Max(Math.Abs);
                double exact = largest < 1e-35 ? 0 : values[i] * 127.0 / largest;
                Assert.InRange(quants[i] - exact, -0.500001, 0.500001);
                Assert.Equal(sums[i / perSum], quants.AsSpan(i / perSum * perSum, perSum).ToArray().Sum(q => q));
            }
        }
    }

    [Theory]
    [InlineData(32)]
    [InlineData(256)]
    public void Run_NanOrInfinity_ShowsInTheScale(int block)
    {
        foreach (float broken in new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity })
        {
            foreach (bool vector in new[] { true, false })
            {
                using var x = new GuardedArray<float>(KernelData.Normal(2 * block, 1));
                x.Span[block + 13] = broken;
                (_, float[] scales, _) = Run(block, x, vector);
                Assert.True(float.IsFinite(scales[0]));
                Assert.False(float.IsFinite(scales[1]));
            }
        }
    }

    [Fact]
    public void RunVector128_AnyBlocks_EqualsTheWidest()
    {
        // Where the widest is wider; elsewhere it is the same code.
        using var x = new GuardedArray<float>(KernelData.Normal(2048, 3, 5f));
        using var quants = new GuardedArray<sbyte>(x.Length);
        using var scales = new GuardedArray<float>(x.Length / 32);
        using var sums = new GuardedArray<int>(x.Length / 32);
        QuantizeActivations.RunVector128(x.Pointer, x.Length, quants.Pointer, scales.Pointer, sums.Pointer);
        (sbyte[] widestQuants, float[] widestScales, int[] widestSums) = Run(32, x, vector: true);
        Assert.Equal(widestQuants, quants.Span.ToArray());
        Assert.Equal(widestScales, scales.Span.ToArray());
        Assert.Equal(widestSums, sums.Span.ToArray());
    }

    private static (sbyte[] Quants, float[] Scales, int[] Sums) Run(int block, GuardedArray<float> x, bool vector)
    {
        using var quants = new GuardedArray<sbyte>(x.Length);
        using var scales = new GuardedArray<float>(x.Length / block);
        using var sums = new GuardedArray<int>(block == 32 ? x.Length / 32 : 0);
        using var sums256 = new GuardedArray<short>(block == 32 ? 0 : x.Length / 16);
        if (block == 32 && vector)
        {
            QuantizeActivations.Run(x.Pointer, x.Length, quants.Pointer, scales.Pointer, sums.Pointer);
        }
        else if (block == 32)
        {
            QuantizeActivations.RunScalar(x.Pointer, x.Length, quants.Pointer, scales.Pointer, sums.Pointer);
        }
        else if (vector)
        {
            QuantizeActivations256.Run(x.Pointer, x.Length, quants.Pointer, scales.Pointer, sums256.Pointer);
        }
        else
        {
            QuantizeActivations256.RunScalar(x.Pointer, x.Length, quants.Pointer, scales.Pointer, sums256.Pointer);
        }

        return (quants.Span.ToArray(), scales.Span.ToArray(), block == 32 ? sums.Span.ToArray() : [.. sums256.Span.ToArray().Select(sum => (int)sum)]);
    }
}
