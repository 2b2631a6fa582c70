namespace E2LLM.Sampling;

/// <summary>
/// Logits to a token id. Stateless and thread-safe: the random number of a token is a pure function of seed and position, so that a
/// generation can move between machines, or be repeated from the middle, and still choose the same tokens.
/// </summary>
/// <remarks>
/// Order: temperature, top-k, top-p, min-p, draw. Candidates are ranked by logit, equal logits by id, lower first. Probabilities are softmax in
/// double precision over what top-k left; top-p cuts after the candidate that reaches the sum, min-p compares with the first candidate, and the draw
/// walks the ranks until their sum passes the random number. The first candidate always stays.
/// </remarks>
public static class Sampler
{
    /// <summary>Chooses the token for one position.</summary>
    /// <param name="logits">One logit per id, <c>[VocabularySize]</c>; minus infinity excludes a token.</param>
    /// <param name="options">How to choose.</param>
    /// <param name="position">Position that the chosen token will have in its sequence, zero-based.</param>
    /// <exception cref="ArgumentException"><paramref name="logits"/> is empty, or an option is out of range.</exception>
    /// <exception cref="InvalidLogitsException">A logit is NaN or plus infinity, or all are minus infinity.</exception>
    public static int Sample(ReadOnlySpan<float> logits, SamplingOptions options, int position)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        options.Validate();
        if (logits.IsEmpty)
        {
            throw new ArgumentException("There are no logits.", nameof(logits));
        }

        int best = FindBest(logits, position);
        return options.Temperature == 0f || options.TopK == 1 ? best : Draw(logits, options, position, logits[best]);
    }

    /// <summary>The random number of one position: SplitMix64 (Steele, Lea and Flood 2014) of the seed, at the position-th step, in [0, 1).</summary>
    internal static double Uniform(ulong seed, int position)
    {
        ulong z = Mix(seed) + (0x9E37_79B9_7F4A_7C15ul * ((ulong)position + 1));
        return (Mix(z) >> 11) * (1.0 / (1ul << 53));
    }

    private static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9ul;
        z = (z ^ (z >> 27)) * 0x94D0_49BB_1331_11EBul;
        return z ^ (z >> 31);
    }

    private static int FindBest(ReadOnlySpan<float> logits, int position)
    {
        int best = 0;
        for (int id = 0; id < logits.Length; id++)
        {
            float logit = logits[id];
            if (float.IsNaN(logit) || float.IsPositiveInfinity(logit))
            {
                throw new InvalidLogitsException(id, position, logit);
            }

            if (logit > logits[best])
            {
                best = id;
            }
        }

        return float.IsNegativeInfinity(logits[best]) ? throw new InvalidLogitsException(best, position, logits[best]) : best;
    }

    private static int Draw(ReadOnlySpan<float> logits, SamplingOptions options, int position, float largest)
    {
        // Keys that sort as wanted: the order-preserving bits of the logit above, the complement of the id below.
        ulong[] rented = System.Buffers.ArrayPool<ulong>.Shared.Rent(logits.Length);
        double[] weights = System.Buffers.ArrayPool<double>.Shared.Rent(logits.Length);
        try
        {
            for (int id = 0; id < logits.Length; id++)
            {
                rented[id] = ((ulong)SortableBits(logits[id]) << 32) | ~(uint)id;
            }

            Span<ulong> ranked = rented.AsSpan(0, logits.Length);
            int count = options.TopK > 0 ? Math.Min(options.TopK, logits.Length) : logits.Length;
            ranked.Sort(static (a, b) => b.CompareTo(a));
            double sum = 0;
            for (int rank = 0; rank < count; rank++)
            {
                double logit = logits[(int)~(uint)ranked[rank]];
                weights[rank] = Math.Exp((logit - largest) / options.Temperature);
                sum += weights[rank];
            }

            count = Cut(weights.AsSpan(0, count), sum, options);
            return (int)~(uint)ranked[Pick(weights.AsSpan(0, count), Uniform(options.Seed, position))];
        }
        finally
        {
            System.Buffers.ArrayPool<ulong>.Shared.Return(rented);
            System.Buffers.ArrayPool<double>.Shared.Return(weights);
        }
    }

    /// <summary>How many of the ranked candidates top-p and min-p leave.</summary>
    private static int Cut(ReadOnlySpan<double> weights, double sum, SamplingOptions options)
    {
        int count = weights.Length;
        if (options.TopP < 1f)
        {
            double reached = 0;
            for (int rank = 0; rank < count; rank++)
            {
                reached += weights[rank];
                if (reached >= options.TopP * sum)
                {
                    count = rank + 1;
                }
            }
        }

        // Weights are relative to the first candidate's, which is 1.
        while (count > 1 && weights[count - 1] < options.MinP)
        {
            count--;
        }

        return count;
    }

    private static int Pick(ReadOnlySpan<double> weights, double uniform)
    {
        double sum = 0;
        foreach (double weight in weights)
        {
            sum += weight;
        }

        double target = uniform * sum, reached = 0;
        for (int rank = 0; rank < weights.Length; rank++)
        {
            reached += weights[rank];
            if (target < reached)
            {
                return rank;
            }
        }

        return weights.Length - 1;
    }

    private static uint SortableBits(float value)
    {
        // Adding zero turns -0 into +0, so that equal logits have equal keys.
        uint bits = BitConverter.SingleToUInt32Bits(value + 0f);
        return (bits & 0x8000_0000u) != 0 ? ~bits : bits | 0x8000_0000u;
    }
}
