using E2LLM.Sampling;

namespace E2LLM.Generation;

/// <summary>Why a generation ended.</summary>
public enum FinishReason
{
    /// <summary>The model chose a token that ends a text.</summary>
    EndOfGeneration,

    /// <summary>As many tokens as were asked for.</summary>
    MaxTokenCount,

    /// <summary>The model's context is full.</summary>
    ContextFull,

    /// <summary>One of <see cref="GenerationOptions.StopSequences"/> came; the text ends before it.</summary>
    StopSequence,
}

/// <summary>One token of a generation.</summary>
/// <param name="Id">Token id.</param>
/// <param name="Text">Text that is certain with this token, possibly empty; pieces in order give the whole text.</param>
/// <param name="Position">Zero-based position in the sequence, prompt included.</param>
/// <param name="Finish">Why the generation ends with this token; null where it goes on.</param>
public readonly record struct GeneratedToken(int Id, string Text, int Position, FinishReason? Finish)
{
    /// <summary>Natural logarithm of the model's probability for the token; null unless <see cref="SamplingOptions.LogProbabilities"/> asks for it.</summary>
    public float? LogProbability { get; init; }

    /// <summary>The most likely tokens in its place, as many as <see cref="SamplingOptions.TopLogProbabilityCount"/> asks for.</summary>
    public IReadOnlyList<TokenLogProbability> TopLogProbabilities { get => field ?? []; init; }

    /// <summary>Tokens of the prompt whose keys and values an earlier text had left: they were not computed again. A multiple of 64, or 0.</summary>
    public int ReusedPromptTokenCount { get; init; }
}
