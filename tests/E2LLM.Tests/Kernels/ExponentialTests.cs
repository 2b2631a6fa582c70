using System.Runtime.Intrinsics;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Tests.Kernels;

public sealed unsafe class ExponentialTests
{
    public static TheoryData<string> AllWidths => [.. KernelData.Widths];

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void Run_WholeRange_IsAsGoodAsSinglePrecision(string width)
    {
        float[] x = [.. Enumerable.Range(0, 160_000).Select(i => -87.3f + (i * 0.00109f)).Where(value => value < 88.36f), 0f, -0f, 1e-30f, -1e-30f, float.Epsilon, -87.33654f, 88.37f];
        float[] y = Run(width, x);
        double worst = x.Zip(y, (argument, result) => Math.Abs((result / Math.Exp(argument)) - 1)).Max();
        Assert.True(worst < 3e-7, $"relative error {worst:E2}");
    }

    [Theory]
    [MemberData(nameof(AllWidths))]
    public void Run_BeyondTheRange_IsZeroInfinityOrNaN(string width)
    {
        float[] y = Run(width, [float.NegativeInfinity, -1e30f, -88f, 88.5f, 1e30f, float.PositiveInfinity, float.NaN]);
        Assert.Equal([0f, 0f, 0f, float.PositiveInfinity, float.PositiveInfinity, float.PositiveInfinity, float.NaN], y);
    }

    private static float[] Run(string width, float[] x)
    {
        int count = (x.Length + 15) / 16 * 16;
        float[] source = [.. x, .. new float[count - x.Length]], target = new float[count];
        fixed (float* from = source, to = target)
        {
            switch (width)
            {
                case "Vector512":
                    Run<Vector512<float>, FloatLanes512>(from, count, to);
                    break;
                case "Vector256":
                    Run<Vector256<float>, FloatLanes256>(from, count, to);
                    break;
                case "Vector128":
                    Run<Vector128<float>, FloatLanes128>(from, count, to);
                    break;
                default:
                    Run<float, FloatLanesScalar>(from, count, to);
                    break;
            }
        }

        return target[..x.Length];
    }

    private static void Run<TVector, TLanes>(float* x, int count, float* y)
        where TVector : unmanaged
        where TLanes : IFloatLanes<TVector>
    {
        for (int i = 0; i < count; i += TLanes.Count)
        {
            TLanes.Store(Exponential.Run<TVector, TLanes>(TLanes.Load(x + i)), y + i);
        }
    }
}
