using E2LLM.Sampling;

namespace E2LLM.Generation;

/// <summary>How one text is continued. Immutable.</summary>
public sealed record GenerationOptions
{
    /// <summary>Most stop sequences, and most characters of each: bounds the work per token.</summary>
    public const int MaxStopSequenceCount = 64, MaxStopSequenceLength = 1024;

    /// <summary>Tokens to generate at most. Default 128, at least 1.</summary>
    public int MaxTokenCount { get; init; } = 128;

    /// <summary>How tokens are chosen. Default: greedy.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>
    /// Texts that end the generation; the generated text ends before the one that is complete first. Compared ordinally with the generated text, not the prompt;
    /// tokens may cut them anywhere. Default none; none may be empty.
    /// </summary>
    public IReadOnlyList<string> StopSequences { get; init; } = [];

    /// <summary>Whether the text of control tokens in the prompt becomes those tokens. Default false: the prompt is plain text, whoever wrote it.</summary>
    public bool ParseSpecial { get; init; }

    /// <summary>Checks the numbers.</summary>
    /// <exception cref="ArgumentException">One is missing or out of range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxTokenCount, 1);
        ArgumentNullException.ThrowIfNull(Sampling);
        Sampling.Validate();
        ArgumentNullException.ThrowIfNull(StopSequences);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(StopSequences.Count, MaxStopSequenceCount, nameof(StopSequences));
        foreach (string stop in StopSequences)
        {
            ArgumentException.ThrowIfNullOrEmpty(stop, nameof(StopSequences));
            ArgumentOutOfRangeException.ThrowIfGreaterThan(stop.Length, MaxStopSequenceLength, nameof(StopSequences));
        }
    }
}
