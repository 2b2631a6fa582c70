namespace E2LLM.Replicas;

/// <summary>One sequence cannot go on, though its replica can: its keys and values did not arrive, its numbers broke, or a stage had no room.</summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Design", "CA1032", Justification = "A failure without a peer would say nothing.")]
public sealed class SequenceFailedException : IOException
{
    /// <summary>Describes the failure.</summary>
    /// <param name="peer">Device where it showed.</param>
    /// <param name="stageIndex">Stage that reported it.</param>
    /// <param name="isRetryable">Whether the same sequence may succeed elsewhere.</param>
    /// <param name="detail">What happened.</param>
    public SequenceFailedException(string peer, int stageIndex, bool isRetryable, string detail)
        : base($"The sequence failed at \"{peer}\" (reported by stage {stageIndex}): {detail}")
    {
        Peer = peer;
        StageIndex = stageIndex;
        IsRetryable = isRetryable;
    }

    /// <summary>Device where it showed.</summary>
    public string Peer { get; }

    /// <summary>Stage that reported it, from 0.</summary>
    public int StageIndex { get; }

    /// <summary>Whether the same sequence may succeed elsewhere.</summary>
    public bool IsRetryable { get; }
}
