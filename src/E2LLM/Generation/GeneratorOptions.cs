using E2LLM.Execution;
using Microsoft.Extensions.Logging;

namespace E2LLM.Generation;

/// <summary>How a <see cref="TextGenerator"/> is set up. Immutable.</summary>
public sealed record GeneratorOptions
{
    /// <summary>Threads, KV cache and batch size. Default: all of <see cref="ExecutorOptions"/>' defaults.</summary>
    public ExecutorOptions Executor { get; init; } = new();

    /// <summary>
    /// Texts generated side by side at most, as far as the KV cache holds them; more wait their turn in the order of the asking. Default 8; at least 1.
    /// Changes no text.
    /// </summary>
    public int MaxSequenceCount { get; init; } = 8;

    /// <summary>Tokens generated ahead of a slow consumer at most; its text then rests. Default 32; at least 1.</summary>
    public int TokenBufferCount { get; init; } = 32;

    /// <summary>
    /// Blocks of the KV cache that keep ended texts at most, so that a next turn, or a prompt that begins alike, is not read again; the longest unused go
    /// first, and all of them as soon as a running text needs the memory. 0 keeps none; null (default) sets no bound but the cache itself. Changes no text.
    /// </summary>
    public int? KeptKvBlockCount { get; init; }

    /// <summary>Name of the generator in metrics. Default "generator".</summary>
    public string Name { get; init; } = "generator";

    /// <summary>Makes the loggers (category <c>E2LLM.Generation.TextGenerator</c>); null (default) logs nothing. Counts, names and reasons only, never text; what there is: Diagnostics/README.md.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    /// <summary>Checks the parts.</summary>
    /// <exception cref="ArgumentException">A part is missing or out of range.</exception>
    public void Validate()
    {
        ArgumentNullException.ThrowIfNull(Executor);
        Executor.Validate();
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxSequenceCount, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(TokenBufferCount, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(KeptKvBlockCount ?? 0, nameof(KeptKvBlockCount));
        ArgumentNullException.ThrowIfNull(Name);
    }
}
