using System.Buffers;
using System.Numerics.Tensors;

namespace E2LLM.Sampling;

/// <summary>
/// Logits to a token id. Stateless and thread-safe: a choice is a pure function of logits, options, position and the latest tokens, its random number one
/// of seed and position, so that a generation can move between machines, or be repeated from the middle, and still choose the same tokens.
/// </summary>
/// <remarks>
/// Order: logit bias, penalties (repetition, then frequency and presence), temperature, top-k, top-p, min-p, draw; temperature 0 takes the best after
/// the penalties. Top-p and min-p thus see the distribution that temperature has shaped, as in the OpenAI and Hugging Face conventions; llama.cpp by default
/// applies bias, penalties, top-k, top-p, min-p and temperature last, so that the same numbers cut less there when the temperature is above 1 and more when it is below.
/// Candidates are ranked by logit, equal logits (0 and -0 are equal) by id, lower first. Probabilities are softmax in double precision over what top-k left; top-p cuts after
/// the candidate that reaches the sum, min-p compares with the first candidate, and the draw walks the ranks until their sum passes the random
/// number. The first candidate always stays. Log-probabilities are the model's own, before all of this. Between machines of different instruction sets the last
/// bits of a sum may differ, as those of logits do.
/// </remarks>
public static class Sampler
{
    /// <summary>Chooses the token for one position.</summary>
    /// <param name="logits">One logit per id, <c>[VocabularySize]</c>; minus infinity excludes a token.</param>
    /// <param name="options">How to choose.</param>
    /// <param name="position">Position that the chosen token will have in its sequence, zero-based.</param>
    /// <param name="recent">
    /// Tokens before that position, newest last. Looked at only where a penalty is on, which needs <see cref="SamplingOptions.PenaltyWindow"/> of them, or all there are.
    /// </param>
    /// <exception cref="ArgumentException"><paramref name="logits"/> is empty, an option or a token id is out of range, or <paramref name="recent"/> is too short.</exception>
    /// <exception cref="InvalidLogitsException">A logit is NaN or plus infinity, or all are minus infinity.</exception>
    public static int Sample(ReadOnlySpan<float> logits, SamplingOptions options, int position, ReadOnlySpan<int> recent = default) =>
        Choose(logits, options, position, recent).Id;

    /// <summary>Chooses the token for one position, with its log-probabilities where the options ask for them.</summary>
    /// <inheritdoc cref="Sample"/>
    public static TokenChoice Choose(ReadOnlySpan<float> logits, SamplingOptions options, int position, ReadOnlySpan<int> recent = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfNegative(position);
        options.Validate();
        if (logits.IsEmpty)
        {
            throw new ArgumentException("There are no logits.", nameof(logits));
        }

        int best = FindBest(logits, position);
        int id = options.HasPenalties || options.LogitBias.Count > 0
            ? ChooseAdjusted(logits, options, position, Window(recent, options, position))
            : Pick(logits, options, position, best);
        return options.LogProbabilities ? LogProbabilities.Describe(logits, id, options.TopLogProbabilityCount) : new TokenChoice(id);
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

    /// <summary>The tokens that penalties look at.</summary>
    private static ReadOnlySpan<int> Window(ReadOnlySpan<int> recent, SamplingOptions options, int position)
    {
        if (!options.HasPenalties)
        {
            return [];
        }

        int count = Math.Min(options.PenaltyWindow, position);
        return recent.Length >= count
            ? recent[^count..]
            : throw new ArgumentException($"The penalties look at {count} tokens before position {position} (PenaltyWindow is {options.PenaltyWindow}); {recent.Length} were given.", nameof(recent));
    }

    private static int ChooseAdjusted(ReadOnlySpan<float> logits, SamplingOptions options, int position, ReadOnlySpan<int> recent)
    {
        float[] rented = ArrayPool<float>.Shared.Rent(logits.Length);
        try
        {
            Span<float> adjusted = rented.AsSpan(0, logits.Length);
            logits.CopyTo(adjusted);
            LogitAdjustment.Apply(adjusted, options, recent);
            return Pick(adjusted, options, position, FindBest(adjusted, position));
        }
        finally
        {
            ArrayPool<float>.Shared.Return(rented);
        }
    }

    private static int FindBest(ReadOnlySpan<float> logits, int position)
    {
        // The first NaN where there is one, else the first of the largest.
        int best = TensorPrimitives.IndexOfMax(logits);
        if (!float.IsFinite(logits[best]))
        {
            throw new InvalidLogitsException(best, position, logits[best]);
        }

        // It ranks 0 above -0, which are equal to us: the lowest id wins.
        return logits[best] == 0f ? logits.IndexOf(0f) : best;
    }

    private static int Pick(ReadOnlySpan<float> logits, SamplingOptions options, int position, int best)
    {
        if (options.Temperature == 0f || options.TopK == 1)
        {
            return best;
        }

        var ranked = new RankedCandidates(logits, logits[best], options.Temperature);
        try
        {
            int count = logits.Length;
            double sum = 0;
            if (options.TopK > 0 && options.TopK < count)
            {
                count = options.TopK;
                for (int rank = 0; rank < count; rank++)
                {
                    sum += ranked.Weight(rank);
                }
            }
            else
            {
                sum = Exponentials.Sum(logits, logits[best], options.Temperature);
            }

            (count, sum) = Cut(ref ranked, count, sum, options);
            return Draw(ref ranked, count, Uniform(options.Seed, position) * sum);
        }
        finally
        {
            ranked.Dispose();
        }
    }

    /// <summary>How many of the first <paramref name="count"/> candidates top-p and min-p leave, and the sum of their weights.</summary>
    private static (int Count, double Sum) Cut(ref RankedCandidates ranked, int count, double sum, SamplingOptions options)
    {
        if (options.TopP >= 1f && options.MinP == 0f)
        {
            return (count, sum);
        }

        int kept = 0;
        double reached = 0;

        // The first candidate's weight is 1.
        while (kept < count && (kept == 0 || ((options.TopP >= 1f || reached < options.TopP * sum) && ranked.Weight(kept) >= options.MinP)))
        {
            reached += ranked.Weight(kept++);
        }

        return (kept, reached);
    }

    private static int Draw(ref RankedCandidates ranked, int count, double target)
    {
        double reached = 0;
        int last = 0;
        for (int rank = 0; rank < count; rank++)
        {
            double weight = ranked.Weight(rank);
            if (weight == 0)
            {
                break;
            }

            reached += weight;
            last = rank;
            if (target < reached)
            {
                break;
            }
        }

        // Rounding may leave the target just above the sum: the last that may be drawn at all is meant then.
        return ranked.Id(last);
    }
}
