using System.Diagnostics;

namespace E2LLM.Sampling;

/// <summary>How the next token is chosen. Immutable. The default is greedy. <see cref="Sampler"/> states the order in which these apply.</summary>
public sealed record SamplingOptions
{
    /// <summary>Most alternatives that <see cref="TopLogProbabilityCount"/> may ask for.</summary>
    public const int MaxTopLogProbabilityCount = 20;

    /// <summary>Most tokens that <see cref="LogitBias"/> may name: bounds the frame that opens a sequence.</summary>
    public const int MaxLogitBiasCount = 1024;

    /// <summary>Divides the logits; 0 (default) takes the most likely token. At least 0.</summary>
    public float Temperature { get; init; }

    /// <summary>Keeps this many of the most likely tokens; 0 (default) keeps all. At least 0.</summary>
    public int TopK { get; init; }

    /// <summary>Keeps the fewest most likely tokens whose probabilities reach this sum; 1 (default) keeps all. Above 0, at most 1.</summary>
    public float TopP { get; init; } = 1f;

    /// <summary>Drops tokens less likely than this share of the most likely one; 0 (default) drops none. 0 to 1.</summary>
    public float MinP { get; init; }

    /// <summary>
    /// Divides the positive logits of tokens that occur among the last <see cref="PenaltyWindow"/>, multiplies the others; 1 (default) changes none. 0.01 to 100.
    /// Source: Keskar et al. 2019, CTRL, with the sign rule that all engines have added since.
    /// </summary>
    public float RepetitionPenalty { get; init; } = 1f;

    /// <summary>Subtracted from a token's logit once for each time it occurs among the last <see cref="PenaltyWindow"/>; 0 (default) changes none. -100 to 100.</summary>
    public float FrequencyPenalty { get; init; }

    /// <summary>Subtracted from a token's logit if it occurs among the last <see cref="PenaltyWindow"/>; 0 (default) changes none. -100 to 100.</summary>
    public float PresencePenalty { get; init; }

    /// <summary>
    /// How many of the latest tokens, prompt included, the penalties look at. Default 64, at least 1; <see cref="int.MaxValue"/> means all. The prompt counts,
    /// so that a text that is taken up elsewhere, where what was generated has become prompt, goes on unchanged.
    /// </summary>
    public int PenaltyWindow { get; init; } = 64;

    /// <summary>Added to the logits of these token ids; minus infinity excludes a token. Finite or minus infinity; at most <see cref="MaxLogitBiasCount"/>. Default none.</summary>
    public IReadOnlyDictionary<int, float> LogitBias { get; init; } = System.Collections.Frozen.FrozenDictionary<int, float>.Empty;

    /// <summary>Together with a token's position it fixes the random number that chooses it. Default 0.</summary>
    public ulong Seed { get; init; }

    /// <summary>Whether each token comes with its log-probability. Default false.</summary>
    public bool LogProbabilities { get; init; }

    /// <summary>How many of the most likely tokens come with each token. 0 (default) to <see cref="MaxTopLogProbabilityCount"/>; needs <see cref="LogProbabilities"/>.</summary>
    public int TopLogProbabilityCount { get; init; }

    /// <summary>Whether the choice depends on earlier tokens.</summary>
    internal bool HasPenalties => RepetitionPenalty != 1f || FrequencyPenalty != 0f || PresencePenalty != 0f;

    /// <summary>Checks the numbers.</summary>
    /// <exception cref="ArgumentException">One is missing or out of its range.</exception>
    public void Validate()
    {
        Check(float.IsFinite(Temperature) && Temperature >= 0f, nameof(Temperature), Temperature, "0 or more");
        Check(TopK >= 0, nameof(TopK), TopK, "0 or more");
        Check(TopP is > 0f and <= 1f, nameof(TopP), TopP, "above 0, at most 1");
        Check(MinP is >= 0f and <= 1f, nameof(MinP), MinP, "0 to 1");
        Check(RepetitionPenalty is >= 0.01f and <= 100f, nameof(RepetitionPenalty), RepetitionPenalty, "0.01 to 100");
        Check(FrequencyPenalty is >= -100f and <= 100f, nameof(FrequencyPenalty), FrequencyPenalty, "-100 to 100");
        Check(PresencePenalty is >= -100f and <= 100f, nameof(PresencePenalty), PresencePenalty, "-100 to 100");
        Check(PenaltyWindow >= 1, nameof(PenaltyWindow), PenaltyWindow, "1 or more");
        Check(TopLogProbabilityCount is >= 0 and <= MaxTopLogProbabilityCount, nameof(TopLogProbabilityCount), TopLogProbabilityCount, $"0 to {MaxTopLogProbabilityCount}");
        Check(TopLogProbabilityCount == 0 || LogProbabilities, nameof(TopLogProbabilityCount), TopLogProbabilityCount, $"0 without {nameof(LogProbabilities)}");
        ArgumentNullException.ThrowIfNull(LogitBias);
        Check(LogitBias.Count <= MaxLogitBiasCount, nameof(LogitBias), LogitBias.Count, $"at most {MaxLogitBiasCount} tokens");
        foreach ((int id, float bias) in LogitBias)
        {
            Check(id >= 0, nameof(LogitBias), id, "of token ids, 0 or more");
            Check(float.IsFinite(bias) || float.IsNegativeInfinity(bias), nameof(LogitBias), bias, $"finite or minus infinity for token {id}");
        }
    }

    /// <summary>Checks what only a model can tell.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><see cref="LogitBias"/> names a token that the vocabulary does not have.</exception>
    internal void CheckVocabulary(int vocabularySize)
    {
        foreach (int id in LogitBias.Keys)
        {
            Check(id < vocabularySize, nameof(LogitBias), id, $"of token ids below {vocabularySize}, the size of the vocabulary");
        }
    }

    /// <summary>Tells an activity how tokens are chosen, in the words of OpenTelemetry's conventions.</summary>
    internal void Describe(Activity? activity)
    {
        if (activity is { IsAllDataRequested: true })
        {
            activity.SetTag("gen_ai.request.temperature", (double)Temperature).SetTag("gen_ai.request.top_p", (double)TopP).SetTag("gen_ai.request.top_k", TopK > 0 ? TopK : null)
                .SetTag("gen_ai.request.frequency_penalty", (double)FrequencyPenalty).SetTag("gen_ai.request.presence_penalty", (double)PresencePenalty)
                .SetTag("gen_ai.request.seed", unchecked((long)Seed));
        }
    }

    private static void Check(bool holds, string name, object value, string expected)
    {
        if (!holds)
        {
            throw new ArgumentOutOfRangeException(name, value, $"{name} must be {expected}.");
        }
    }
}
