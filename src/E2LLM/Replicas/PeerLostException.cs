namespace E2LLM.Replicas;

/// <summary>Why a peer counts as lost.</summary>
public enum PeerLossReason
{
    /// <summary>Its stream ended or broke.</summary>
    Closed,

    /// <summary>It was silent, too slow or did not read for longer than allowed.</summary>
    TimedOut,

    /// <summary>It sent bytes that are no frames, or frames that make no sense.</summary>
    Damaged,

    /// <summary>It could not be reached at all.</summary>
    Unreachable,

    /// <summary>It said that it cannot go on.</summary>
    Failed,

    /// <summary>A newer plan gave its device other work.</summary>
    Replaced,
}

/// <summary>
/// A device that a replica needs is gone. Every call that was pending on the replica ends with this; its sequences and their memory are
/// released on the devices that are left. A dispatcher continues the requests on other replicas.
/// </summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Design", "CA1032", Justification = "A lost peer without a name would say nothing.")]
public sealed class PeerLostException : IOException
{
    /// <summary>Describes a loss.</summary>
    /// <param name="peer">Name of the device.</param>
    /// <param name="stageIndex">Its stage in the replica, or -1 where it is no stage of it.</param>
    /// <param name="reason">What happened.</param>
    /// <param name="detail">More about it.</param>
    /// <param name="inner">What was thrown underneath.</param>
    public PeerLostException(string peer, int stageIndex, PeerLossReason reason, string detail, Exception? inner = null)
        : base($"Peer \"{peer}\"{(stageIndex >= 0 ? $" (stage {stageIndex})" : "")} is lost: {detail}", inner)
    {
        Peer = peer;
        StageIndex = stageIndex;
        Reason = reason;
        Detail = detail;
    }

    /// <summary>Name of the device.</summary>
    public string Peer { get; }

    /// <summary>Its stage in the replica, from 0; -1 where unknown or none.</summary>
    public int StageIndex { get; }

    /// <summary>What happened.</summary>
    public PeerLossReason Reason { get; }

    /// <summary>More about it, without the name.</summary>
    internal string Detail { get; }

    /// <summary>The same loss, told with the stage's number.</summary>
    internal PeerLostException At(int stageIndex) => StageIndex >= 0 ? this : new(Peer, stageIndex, Reason, Detail, this);

    /// <summary>Why a connection ended, without the name of a peer that the message of which this becomes part has already.</summary>
    internal static string Reasoning(Exception? error) => error is PeerLostException lost ? lost.Detail : error?.Message ?? "the connection ended.";

    /// <summary>The same end of a replica once more, so that every caller gets an exception of its own.</summary>
    internal static Exception Again(Exception error) => error is PeerLostException lost
        ? new PeerLostException(lost.Peer, lost.StageIndex, lost.Reason, lost.Detail, lost)
        : new ObjectDisposedException(nameof(Replica));
}
