using E2LLM.Execution;
using E2LLM.Replicas.Stages;

namespace E2LLM.Replicas;

/// <summary>Layers ready to compute, and what must be disposed with them. Owned by the stage host that asked for it. Not thread-safe.</summary>
public sealed class LoadedStage : IDisposable
{
    private readonly IDisposable[] _owned;

    /// <summary>Hands over an executor.</summary>
    /// <param name="executor">Computes the layers; owned from now on.</param>
    /// <param name="owned">Disposed after it, in this order: its weights, the file they were read from.</param>
    public LoadedStage(LayerRangeExecutor executor, params IDisposable[] owned)
    {
        ArgumentNullException.ThrowIfNull(executor);
        ArgumentNullException.ThrowIfNull(owned);
        Executor = new LayerRangeStageExecutor(executor);
        _owned = [executor, .. owned];
    }

    internal LoadedStage(IStageExecutor executor, params IDisposable[] owned)
    {
        Executor = executor;
        _owned = owned;
    }

    internal IStageExecutor Executor { get; }

    /// <summary>Frees the executor and what came with it.</summary>
    public void Dispose()
    {
        foreach (IDisposable item in _owned)
        {
            item.Dispose();
        }
    }
}
