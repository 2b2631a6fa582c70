using E2LLM.Execution;

namespace E2LLM.Generation;

/// <summary>How a <see cref="TextGenerator"/> is set up. Immutable.</summary>
public sealed record GeneratorOptions
{
    /// <summary>Threads, KV cache and batch size. Default: all of <see cref="ExecutorOptions"/>' defaults.</summary>
    public ExecutorOptions Executor { get; init; } = new();

    /// <summary>Checks the parts.</summary>
    /// <exception cref="ArgumentException">A part is missing or out of range.</exception>
    public void Validate()
    {
        ArgumentNullException.ThrowIfNull(Executor);
        Executor.Validate();
    }
}
