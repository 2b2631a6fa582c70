using E2LLM.Replicas.Connections;

namespace E2LLM.Replicas.Recovery;

/// <summary>
/// Numbers of sessions. Those of one dispatcher share their upper half, then come 20 bits that count its attempts at plans and 12 that count the plan's replicas (WIRE_FORMAT.md): so a device
/// knows which of its sessions a newer plan of the same dispatcher has left behind, also where their connections have not ended yet. Stateless; thread-safe.
/// </summary>
internal static class SessionNumber
{
    private const int LineageShift = 32, AttemptShift = 12;
    private const uint MaxAttempt = (1 << (LineageShift - AttemptShift)) - 1, MaxReplica = (1 << AttemptShift) - 1;

    /// <summary>The number of a replica of a plan; a random one where the bits do not suffice.</summary>
    /// <param name="lineage">A random number of the dispatcher, of which the upper half counts.</param>
    /// <param name="attempt">How many attempts at plans the dispatcher has made before.</param>
    /// <param name="replica">Which replica of the plan.</param>
    public static ulong Of(ulong lineage, uint attempt, int replica) => attempt <= MaxAttempt && replica <= MaxReplica
        ? (lineage >> LineageShift << LineageShift) | ((ulong)attempt << AttemptShift) | (uint)replica : DialedPeer.NewNonce();

    /// <summary>Whether <paramref name="older"/> belongs to an older plan of the dispatcher of <paramref name="newer"/>.</summary>
    public static bool IsSuperseded(ulong older, ulong newer) => older >> LineageShift == newer >> LineageShift && older >> AttemptShift < newer >> AttemptShift;
}
