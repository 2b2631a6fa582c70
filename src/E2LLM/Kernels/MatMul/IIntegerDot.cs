using System.Runtime.Intrinsics;

namespace E2LLM.Kernels.MatMul;

/// <summary>Exact sums of products of unsigned weights and signed activations, eight rows in lanes. All give the same integers.</summary>
internal interface IIntegerDot
{
    /// <summary>What a block's sum starts from, so that it ends as the sum of <c>(unsigned - bias) * x</c>.</summary>
    /// <param name="activationSum">Sum of the block's quantised activations.</param>
    /// <param name="bias">The format's bias.</param>
    static abstract Vector256<int> Start(int activationSum, int bias);

    /// <summary><c>sum[row] + sum over i in 0..3 of weights[4 row + i] * activations[4 row + i]</c>.</summary>
    static abstract Vector256<int> Add(Vector256<int> sum, Vector256<byte> weights, Vector256<sbyte> activations);

    /// <summary><c>sum[row] + left[2 row] * right[2 row] + left[2 row + 1] * right[2 row + 1]</c>.</summary>
    static abstract Vector256<int> AddPairs(Vector256<int> sum, Vector256<short> left, Vector256<short> right);
}
