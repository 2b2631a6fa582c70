using System.Numerics;

namespace E2LLM.Kernels.Attention;

/// <summary>
/// Joins two partial results of online softmax over disjoint positions: <c>m' = max(m1, m2); o = o1 exp(m1 - m') + o2 exp(m2 - m')</c>, sums likewise.
/// </summary>
/// <remarks>
/// Shapes: outputs <c>[count]</c>. The first is replaced; no overlap. Numerics: each element two products and one sum, each rounded; the same bits at every width. A
/// part that is empty (maximum minus infinity, sum zero) leaves the other as it is.
/// </remarks>
internal static unsafe class MergeAttention
{
    /// <summary>Joins the second part of one row into the first.</summary>
    internal static void Run(float* maximum, float* sum, float* output, float otherMaximum, float otherSum, float* otherOutput, int count)
    {
        // A part that saw no position has nothing to add.
        if (otherSum == 0f && float.IsNegativeInfinity(otherMaximum))
        {
            return;
        }

        if (*sum == 0f && float.IsNegativeInfinity(*maximum))
        {
            *maximum = otherMaximum;
            *sum = otherSum;
            new ReadOnlySpan<float>(otherOutput, count).CopyTo(new Span<float>(output, count));
            return;
        }

        float joint = MathF.Max(*maximum, otherMaximum), keep = MathF.Exp(*maximum - joint), take = MathF.Exp(otherMaximum - joint);
        *maximum = joint;
        *sum = (*sum * keep) + (otherSum * take);
        int whole = count - (count % Vector<float>.Count);
        for (int i = 0; i < whole; i += Vector<float>.Count)
        {
            ((Vector.Load(output + i) * keep) + (Vector.Load(otherOutput + i) * take)).Store(output + i);
        }

        for (int i = whole; i < count; i++)
        {
            output[i] = (output[i] * keep) + (otherOutput[i] * take);
        }
    }
}
