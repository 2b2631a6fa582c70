using System.Runtime.Intrinsics;
using E2LLM.Kernels.Attention;
using E2LLM.Kernels.Elementwise;
using E2LLM.Kernels.Lanes;

namespace E2LLM.Tests.Kernels;

/// <summary>Runs a kernel at a width named by a test; wider ones than the machine's run in software.</summary>
internal static unsafe class Widths
{
    public static void RmsNorm(string width, float* x, float* weight, int count, float epsilon, float* y)
    {
        switch (width)
        {
            case "Vector512":
                E2LLM.Kernels.Elementwise.RmsNorm.Run<Vector512<float>, FloatLanes512>(x, weight, count, epsilon, y);
                break;
            case "Vector256":
                E2LLM.Kernels.Elementwise.RmsNorm.Run<Vector256<float>, FloatLanes256>(x, weight, count, epsilon, y);
                break;
            case "Vector128":
                E2LLM.Kernels.Elementwise.RmsNorm.Run<Vector128<float>, FloatLanes128>(x, weight, count, epsilon, y);
                break;
            default:
                E2LLM.Kernels.Elementwise.RmsNorm.Run<float, FloatLanesScalar>(x, weight, count, epsilon, y);
                break;
        }
    }

    public static void SwiGlu(string width, float* gate, float* up, int count)
    {
        switch (width)
        {
            case "Vector512":
                E2LLM.Kernels.Elementwise.SwiGlu.Run<Vector512<float>, FloatLanes512>(gate, up, count);
                break;
            case "Vector256":
                E2LLM.Kernels.Elementwise.SwiGlu.Run<Vector256<float>, FloatLanes256>(gate, up, count);
                break;
            case "Vector128":
                E2LLM.Kernels.Elementwise.SwiGlu.Run<Vector128<float>, FloatLanes128>(gate, up, count);
                break;
            default:
                E2LLM.Kernels.Elementwise.SwiGlu.Run<float, FloatLanesScalar>(gate, up, count);
                break;
        }
    }

    public static void AddTo(string width, float* x, int count, float* y)
    {
        switch (width)
        {
            case "Vector512":
                E2LLM.Kernels.Elementwise.AddTo.Run<Vector512<float>, FloatLanes512>(x, count, y);
                break;
            case "Vector256":
                E2LLM.Kernels.Elementwise.AddTo.Run<Vector256<float>, FloatLanes256>(x, count, y);
                break;
            case "Vector128":
                E2LLM.Kernels.Elementwise.AddTo.Run<Vector128<float>, FloatLanes128>(x, count, y);
                break;
            default:
                E2LLM.Kernels.Elementwise.AddTo.Run<float, FloatLanesScalar>(x, count, y);
                break;
        }
    }

    public static void Fold(string width, in AttentionRows rows, float* keys, float* values, int firstCount)
    {
        switch (width)
        {
            case "Vector512":
                AttentionBlock.Fold<Vector512<float>, FloatLanes512>(rows, keys, values, firstCount);
                break;
            case "Vector256":
                AttentionBlock.Fold<Vector256<float>, FloatLanes256>(rows, keys, values, firstCount);
                break;
            case "Vector128":
                AttentionBlock.Fold<Vector128<float>, FloatLanes128>(rows, keys, values, firstCount);
                break;
            default:
                AttentionBlock.Fold<float, FloatLanesScalar>(rows, keys, values, firstCount);
                break;
        }
    }
}
