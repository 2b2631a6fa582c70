using System.Runtime.Intrinsics;
using E2LLM.Kernels.Elementwise;
using E2LLM.Kernels.Lanes;
using E2LLM.Tests.Oracles;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Kernels;

public sealed unsafe class ElementwiseTests
{
    public static TheoryData<string, bool> Paths
    {
        get
        {
            var data = new TheoryData<string, bool>();
            foreach (string width in KernelData.Widths)
            {
                data.Add(width, false);
                data.Add(width, true);
            }

            return data;
        }
    }

    private static IEnumerable<int> Lengths => Enumerable.Range(0, 258).Concat([2048, 4096, 5632]);

    [Theory]
    [MemberData(nameof(Paths))]
    public void RmsNorm_AllLengths_EqualsDoublePrecision(string width, bool guardBefore)
    {
        foreach (int length in Lengths)
        {
            using var x = new GuardedArray<float>(KernelData.Normal(length, length + 1), guardBefore);
            using var weight = new GuardedArray<float>(KernelData.Normal(length, length + 2), guardBefore);
            using var y = new GuardedArray<float>(length, guardBefore);
            Widths.RmsNorm(width, x.Pointer, weight.Pointer, length, 1e-5f, y.Pointer);
            double mean = 0;
            foreach (float value in x.Span)
            {
                mean += (double)value * value / length;
            }

            double[] expected = new double[length];
            for (int i = 0; i < length; i++)
            {
                expected[i] = x.Span[i] / Math.Sqrt(mean + 1e-5f) * weight.Span[i];
            }

            Accuracy.AssertClose(expected, y.Span, Accuracy.Float, $"length {length}");

            // In place gives the same.
            Widths.RmsNorm(width, x.Pointer, weight.Pointer, length, 1e-5f, x.Pointer);
            Assert.True(x.Span.SequenceEqual(y.Span));
        }
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public void SwiGlu_AllLengths_EqualsDoublePrecision(string width, bool guardBefore)
    {
        foreach (int length in Lengths)
        {
            using var gate = new GuardedArray<float>(KernelData.Normal(length, length + 3, 4f), guardBefore);
            using var up = new GuardedArray<float>(KernelData.Normal(length, length + 4), guardBefore);
            double[] expected = new double[length];
            for (int i = 0; i < length; i++)
            {
                expected[i] = gate.Span[i] / (1 + Math.Exp(-(double)gate.Span[i])) * up.Span[i];
            }

            Widths.SwiGlu(width, gate.Pointer, up.Pointer, length);
            Accuracy.AssertClose(expected, gate.Span, Accuracy.Float, $"length {length}");
        }
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public void SwiGlu_Extremes_GoWhereTheFormulaGoes(string width, bool guardBefore)
    {
        float[] gates = [-1000f, -90f, -0f, 0f, 90f, 1000f, float.PositiveInfinity, float.NaN, -88.5f, 1e-40f, 1f, 2f, 3f, 4f, 5f, 6f, float.NaN, -200f];
        using var gate = new GuardedArray<float>(gates, guardBefore);
        using var up = new GuardedArray<float>([.. Enumerable.Repeat(1f, gates.Length)], guardBefore);
        Widths.SwiGlu(width, gate.Pointer, up.Pointer, gates.Length);
        for (int i = 0; i < gates.Length; i++)
        {
            double expected = gates[i] / (1 + Math.Exp(-(double)gates[i]));
            if (double.IsNaN(expected) || double.IsInfinity(expected))
            {
                Assert.Equal((float)expected, gate.Span[i]);
            }
            else
            {
                Assert.InRange(gate.Span[i], expected - 1e-6 - (1e-6 * Math.Abs(expected)), expected + 1e-6 + (1e-6 * Math.Abs(expected)));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Paths))]
    public void AddTo_AllLengthsAndSpecials_EqualsPlainSum(string width, bool guardBefore)
    {
        foreach (int length in Lengths)
        {
            float[] a = KernelData.Normal(length, length + 5), b = KernelData.Normal(length, length + 6);
            if (length > 3)
            {
                (a[0], b[0]) = (float.NaN, 1f);
                (a[1], b[1]) = (float.PositiveInfinity, 1f);
                (a[2], b[2]) = (-0f, -0f);
                (a[3], b[3]) = (float.PositiveInfinity, float.NegativeInfinity);
            }

            using var x = new GuardedArray<float>(a, guardBefore);
            using var y = new GuardedArray<float>(b, guardBefore);
            Widths.AddTo(width, x.Pointer, length, y.Pointer);
            for (int i = 0; i < length; i++)
            {
                float expected = a[i] + b[i];
                Assert.True(float.IsNaN(expected) ? float.IsNaN(y.Span[i]) : BitConverter.SingleToInt32Bits(expected) == BitConverter.SingleToInt32Bits(y.Span[i]));
            }
        }
    }

    [Theory]
    [InlineData(2, 0)]
    [InlineData(64, 5)]
    [InlineData(128, 2047)]
    [InlineData(8, 131_071)]
    public void Rope_BothLayouts_RotateComplexNumbers(int dimensions, int position)
    {
        int pairs = dimensions / 2;
        float[] factors = [.. Enumerable.Range(0, pairs).Select(i => 1f + (i % 3))];
        double[] frequencies = new double[pairs];
        Rope.FillInverseFrequencies(500_000f, 2f, factors, frequencies);
        using var x = new GuardedArray<float>(KernelData.Normal(dimensions, position));
        using var halves = new GuardedArray<float>(dimensions);
        using var cosines = new GuardedArray<float>(pairs);
        using var sines = new GuardedArray<float>(pairs);
        double[] expected = new double[dimensions], expectedHalves = new double[dimensions];
        for (int i = 0; i < pairs; i++)
        {
            halves.Span[i] = x.Span[2 * i];
            halves.Span[i + pairs] = x.Span[(2 * i) + 1];
            double angle = position / 2.0 / factors[i] * Math.Pow(500_000, -2.0 * i / dimensions);
            var turned = new System.Numerics.Complex(x.Span[2 * i], x.Span[(2 * i) + 1]) * System.Numerics.Complex.FromPolarCoordinates(1, angle);
            (expected[2 * i], expected[(2 * i) + 1]) = (turned.Real, turned.Imaginary);
            (expectedHalves[i], expectedHalves[i + pairs]) = (turned.Real, turned.Imaginary);
        }

        fixed (double* f = frequencies)
        {
            Rope.FillAngles(position, f, pairs, cosines.Pointer, sines.Pointer);
        }

        Rope.RotateInterleaved(x.Pointer, cosines.Pointer, sines.Pointer, pairs);
        Rope.RotateHalves(halves.Pointer, cosines.Pointer, sines.Pointer, pairs);
        Accuracy.AssertClose(expected, x.Span, Accuracy.Float, "interleaved");
        Accuracy.AssertClose(expectedHalves, halves.Span, Accuracy.Float, "halves");
    }

    [Fact]
    public void RotateInterleaved_AnyWidth_GivesTheScalarBits()
    {
        const int Pairs = 48;
        float[] x = KernelData.Normal(2 * Pairs, 1), cosines = KernelData.Normal(Pairs, 2), sines = KernelData.Normal(Pairs, 3);
        float[] expected = Rotate<float, FloatLanesScalar>();
        Assert.Equal(expected, Rotate<Vector128<float>, FloatLanes128>());
        Assert.Equal(expected, Rotate<Vector256<float>, FloatLanes256>());
        Assert.Equal(expected, Rotate<Vector512<float>, FloatLanes512>());

        float[] Rotate<TVector, TLanes>()
            where TVector : unmanaged
            where TLanes : IFloatLanes<TVector>
        {
            float[] turned = [.. x];
            fixed (float* y = turned, c = cosines, s = sines)
            {
                Assert.Equal(Pairs, Rope.RotateInterleaved<TVector, TLanes>(y, c, s, Pairs));
            }

            return turned;
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(37)]
    [InlineData(256)]
    public void Scale_AnyLength_IsOneProductAnElement(int count)
    {
        using var x = new GuardedArray<float>(KernelData.Normal(count, count));
        using var y = new GuardedArray<float>(count);
        Scale.Run(x.Pointer, count, 0.3f, y.Pointer);
        Assert.Equal(x.Span.ToArray().Select(value => value * 0.3f), y.Span.ToArray());
    }
}
