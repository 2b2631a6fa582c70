using E2LLM.Generation;
using E2LLM.Tokenization;

namespace E2LLM.Extensions.AI;

/// <summary>How an <see cref="E2LLMChatClient"/> answers. Immutable; thread-safe.</summary>
public sealed record E2LLMChatClientOptions
{
    /// <summary>Name under which the model answers; null (default) for the name in its file.</summary>
    public string? ModelId { get; init; }

    /// <summary>How conversations are written; null (default) for the model's own template, or <see cref="ChatTemplate.Plain"/> where it has none.</summary>
    public ChatTemplate? Template { get; init; }

    /// <summary>What holds where a call says nothing else: by default greedy, at most 512 tokens.</summary>
    public GenerationOptions Generation { get; init; } = new() { MaxTokenCount = 512 };

    /// <summary>Whether prompts and answers are logged, at level Trace. Default false: no text of a conversation reaches a log.</summary>
    public bool LogSensitiveData { get; init; }

    /// <summary>Checks the values.</summary>
    /// <exception cref="ArgumentException">One is missing or out of range.</exception>
    public void Validate()
    {
        ArgumentNullException.ThrowIfNull(Generation);
        Generation.Validate();
    }
}
