using System.Buffers;

namespace E2LLM.Sampling;

/// <summary>What changes single logits before tokens are ranked: bias, then penalties for repetition. Stateless; thread-safe.</summary>
internal static class LogitAdjustment
{
    /// <summary>
    /// <c>l += bias</c>; then for a token seen c &gt; 0 times among <paramref name="recent"/>: <c>l = l &gt; 0 ? l / r : l * r</c>, <c>l -= c * frequency + presence</c>.
    /// </summary>
    /// <param name="logits">Changed in place, <c>[VocabularySize]</c>.</param>
    /// <param name="options">Bias and penalties.</param>
    /// <param name="recent">The tokens that penalties look at, in any order.</param>
    /// <exception cref="ArgumentException">A token id is outside the vocabulary.</exception>
    public static void Apply(Span<float> logits, SamplingOptions options, ReadOnlySpan<int> recent)
    {
        foreach ((int id, float bias) in options.LogitBias)
        {
            CheckId(id, logits.Length, nameof(SamplingOptions.LogitBias));
            logits[id] = Bounded(logits[id] + (double)bias);
        }

        if (!options.HasPenalties || recent.IsEmpty)
        {
            return;
        }

        int[] rented = ArrayPool<int>.Shared.Rent(recent.Length);
        Span<int> sorted = rented.AsSpan(0, recent.Length);
        recent.CopyTo(sorted);
        sorted.Sort();
        for (int start = 0, end; start < sorted.Length; start = end)
        {
            int id = sorted[start];
            CheckId(id, logits.Length, nameof(recent));
            end = start + 1;
            while (end < sorted.Length && sorted[end] == id)
            {
                end++;
            }

            double logit = logits[id];
            logit = logit > 0 ? logit / options.RepetitionPenalty : logit * options.RepetitionPenalty;
            logits[id] = Bounded(logit - (((double)(end - start) * options.FrequencyPenalty) + options.PresencePenalty));
        }

        ArrayPool<int>.Shared.Return(rented);
    }

    /// <summary>A penalty below zero must not make an infinity of a large logit; minus infinity stays.</summary>
    private static float Bounded(double logit) => double.IsNegativeInfinity(logit) ? float.NegativeInfinity : (float)Math.Clamp(logit, float.MinValue, float.MaxValue);

    private static void CheckId(int id, int count, string name)
    {
        if ((uint)id >= (uint)count)
        {
            throw new ArgumentException($"{name} names token {id}; the vocabulary has ids 0 to {count - 1}.", name);
        }
    }
}
