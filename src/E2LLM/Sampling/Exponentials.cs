using System.Numerics.Tensors;

namespace E2LLM.Sampling;

/// <summary>The sum that softmax divides by, over a whole vocabulary. Stateless; thread-safe.</summary>
internal static class Exponentials
{
    // A few cache lines: what is made of a block stays in the first-level cache until it has been added.
    private const int BlockCount = 256;

    /// <summary><c>sum exp((l[i] - largest) / temperature)</c>, in double precision, block after block. Bits may differ between instruction sets, not otherwise.</summary>
    /// <param name="logits">Any number of them; none NaN or plus infinity. Minus infinity adds nothing.</param>
    /// <param name="largest">The largest of them: no exponential is then above 1.</param>
    /// <param name="temperature">Above 0.</param>
    public static double Sum(ReadOnlySpan<float> logits, double largest, double temperature)
    {
        Span<double> block = stackalloc double[BlockCount];
        double sum = 0;
        for (int start = 0; start < logits.Length; start += BlockCount)
        {
            ReadOnlySpan<float> part = logits[start..Math.Min(start + BlockCount, logits.Length)];
            Span<double> terms = block[..part.Length];
            TensorPrimitives.ConvertTruncating(part, terms);
            TensorPrimitives.Subtract(terms, largest, terms);
            TensorPrimitives.Divide(terms, temperature, terms);
            TensorPrimitives.Exp(terms, terms);
            sum += TensorPrimitives.Sum<double>(terms);
        }

        return sum;
    }
}
