using E2LLM.Replicas.Connections;

namespace E2LLM.Replicas.Stages;

/// <summary>How many steps of each sequence wait for a stage's thread or run on it. Thread-safe.</summary>
internal sealed class QueuedSteps
{
    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, int> _counts = [];

    /// <summary>Whether a step of the sequence waits or runs.</summary>
    public bool Any(ulong sequence)
    {
        lock (_gate)
        {
            return _counts.ContainsKey(sequence);
        }
    }

    /// <summary>A step came.</summary>
    public void Came(StepMessage step)
    {
        lock (_gate)
        {
            foreach (StepItem item in step.Items)
            {
                _counts[item.Sequence] = _counts.GetValueOrDefault(item.Sequence) + 1;
            }
        }
    }

    /// <summary>A step is through, or was given up.</summary>
    public void Left(StepMessage step)
    {
        lock (_gate)
        {
            foreach (StepItem item in step.Items)
            {
                if (--_counts[item.Sequence] == 0)
                {
                    _counts.Remove(item.Sequence);
                }
            }
        }
    }
}
