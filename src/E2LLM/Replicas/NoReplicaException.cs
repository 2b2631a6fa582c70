namespace E2LLM.Replicas;

/// <summary>No replica is left that could serve a phase of the request. Connect replicas and try again.</summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Design", "CA1032", Justification = "Only a dispatcher makes one.")]
public sealed class NoReplicaException : InvalidOperationException
{
    internal NoReplicaException(string phase, Exception? cause)
        : base($"No replica is left for {phase}.", cause)
    {
    }
}
