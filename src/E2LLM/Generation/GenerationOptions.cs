using E2LLM.Sampling;

namespace E2LLM.Generation;

/// <summary>How one text is continued. Immutable.</summary>
public sealed record GenerationOptions
{
    /// <summary>Tokens to generate at most. Default 128, at least 1.</summary>
    public int MaxTokenCount { get; init; } = 128;

    /// <summary>How tokens are chosen. Default: greedy.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>Whether the text of control tokens in the prompt becomes those tokens. Default false: the prompt is plain text, whoever wrote it.</summary>
    public bool ParseSpecial { get; init; }

    /// <summary>Checks the numbers.</summary>
    /// <exception cref="ArgumentException">One is missing or out of range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxTokenCount, 1);
        ArgumentNullException.ThrowIfNull(Sampling);
        Sampling.Validate();
    }
}
