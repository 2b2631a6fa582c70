namespace E2LLM.Replicas;

/// <summary>A device answered and refused: it serves another model, other layers or another format. Trying again does not help.</summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Design", "CA1032", Justification = "A refusal without a peer would say nothing.")]
public sealed class HandshakeRejectedException : IOException
{
    /// <summary>Describes a refusal.</summary>
    /// <param name="peer">Name of the device.</param>
    /// <param name="reason">What it said.</param>
    /// <param name="differences">Fields in which both sides differ, seen from this side.</param>
    public HandshakeRejectedException(string peer, string reason, IReadOnlyList<IdentityDifference> differences)
        : base(differences.Count == 0 ? $"Peer \"{peer}\" refused: {reason}" : $"Peer \"{peer}\" refused: {reason} {string.Join("; ", differences)}.")
    {
        Peer = peer;
        Differences = differences;
    }

    /// <summary>Name of the device.</summary>
    public string Peer { get; }

    /// <summary>Fields in which both sides differ; empty where something else is wrong.</summary>
    public IReadOnlyList<IdentityDifference> Differences { get; }
}
