using E2LLM.Sampling;

namespace E2LLM.Replicas;

/// <summary>A prompt to be continued. Immutable; thread-safe.</summary>
public sealed record ServingRequest
{
    /// <summary>Token ids of the prompt, at least one.</summary>
    public required IReadOnlyList<int> PromptIds { get; init; }

    /// <summary>Tokens to generate at most; at least 1. Default 256.</summary>
    public int MaxTokenCount { get; init; } = 256;

    /// <summary>How tokens are chosen. Default greedy.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>Whether a token ends the generation, usually <see cref="ITokenizer.IsEndOfGeneration"/>; the token itself is still delivered. Null: none does.</summary>
    public Predicate<int>? EndsAt { get; init; }

    /// <summary>Checks the values.</summary>
    /// <exception cref="ArgumentException">One is missing or outside its range.</exception>
    public void Validate()
    {
        ArgumentNullException.ThrowIfNull(PromptIds);
        if (PromptIds.Count == 0)
        {
            throw new ArgumentException("A prompt has at least one token.", nameof(PromptIds));
        }

        ArgumentOutOfRangeException.ThrowIfLessThan(MaxTokenCount, 1);
        ArgumentNullException.ThrowIfNull(Sampling);
        Sampling.Validate();
    }

    /// <summary>Checks what only a model can tell.</summary>
    /// <exception cref="ArgumentException">A token of the prompt or of the bias is not in the vocabulary, or the prompt leaves no room in the context.</exception>
    internal void CheckModel(ModelShape shape)
    {
        Check(PromptIds.Count < shape.ContextLength, nameof(PromptIds), PromptIds.Count, $"have fewer tokens than the model's context of {shape.ContextLength}");
        for (int i = 0; i < PromptIds.Count; i++)
        {
            Check((uint)PromptIds[i] < (uint)shape.VocabularySize, $"{nameof(PromptIds)}[{i}]", PromptIds[i], $"be a token id below {shape.VocabularySize}, the size of the vocabulary");
        }

        Sampling.CheckVocabulary(shape.VocabularySize);
    }

    private static void Check(bool holds, string name, object value, string expected)
    {
        if (!holds)
        {
            throw new ArgumentOutOfRangeException(name, value, $"{name} must {expected}.");
        }
    }
}
