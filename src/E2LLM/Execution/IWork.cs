namespace E2LLM.Execution;

/// <summary>A piece of work that a <see cref="WorkerPool"/> splits: tasks of one work are independent of each other and run in any order.</summary>
internal interface IWork
{
    /// <summary>Does one task.</summary>
    /// <param name="task">Zero-based task.</param>
    /// <param name="worker">Which worker runs it, below <see cref="WorkerPool.WorkerCount"/>: an index into per-worker scratch.</param>
    void Run(int task, int worker);
}
