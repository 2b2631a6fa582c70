using E2LLM.Deployment;
using E2LLM.KvCaching;

namespace E2LLM.Replicas;

/// <summary>Chooses among living replicas where a request is read and where it goes on. Stateless.</summary>
/// <param name="Prefill">The replica that reads.</param>
/// <param name="Decode">The one that generates; null where there is one token to come.</param>
/// <param name="KeptTokenCount">Tokens that the first probably holds already.</param>
internal readonly record struct Placement(Replica Prefill, Replica? Decode, int KeptTokenCount)
{
    /// <summary>Places a request.</summary>
    /// <param name="alive">The replicas to choose from.</param>
    /// <param name="options">How far text that is held somewhere decides.</param>
    /// <param name="known">Prompt, and what was generated before a loss.</param>
    /// <param name="remaining">Tokens to come at most.</param>
    /// <param name="suspects">
    /// Devices that failed this request: another device may have said so before their own replicas know. Replicas with them are taken where there are no others.
    /// </param>
    /// <param name="loss">What is told where no replica is left.</param>
    /// <exception cref="NoReplicaException">None is left.</exception>
    /// <exception cref="ArgumentOutOfRangeException">The request fits none.</exception>
    public static Placement Choose(IReadOnlyList<Replica> alive, DispatcherOptions options, List<int> known, int remaining, IReadOnlySet<string> suspects, Exception? loss)
    {
        List<PageKey> pages = [];
        PageKey.Extend(pages, known);
        Dictionary<Replica, int> kept = alive.ToDictionary(replica => replica, replica => replica.Kept.MatchTokenCount(pages));

        // A next turn goes on where its text is: what is new of it is read there, beside what is generated, and nothing moves.
        Replica? holder = alive.Where(replica => kept[replica] > 0 && replica.Plan.Role != ReplicaRole.Prefill
                && Math.Max(1, known.Count - kept[replica]) <= options.NextTurnTokenCount && replica.Admission.HasRoom(known.Count + remaining))
            .Where(replica => !IsSuspect(replica, suspects)).OrderByDescending(replica => kept[replica]).ThenBy(DecodeLoad).FirstOrDefault();
        if (holder is not null)
        {
            return new Placement(holder, holder, kept[holder]);
        }

        // A prompt goes to the replica that would be through soonest, with what it holds of it already.
        Replica prefill = Candidates(alive, ReplicaRole.Prefill, known.Count, suspects, loss)
            .MinBy(replica => replica.PrefillRate.EstimateSeconds(known.Count - kept[replica]))!;
        return new Placement(prefill, remaining == 1 ? null : ChooseDecode(alive, known.Count + remaining, suspects, loss), kept[prefill]);
    }

    /// <summary>
    /// The replica whose sequences would each get the most tokens per second, as planned, with one more on it, among those that have room now if any has.
    /// </summary>
    private static Replica ChooseDecode(IReadOnlyList<Replica> alive, int tokenCount, IReadOnlySet<string> suspects, Exception? loss)
    {
        Replica[] large = Candidates(alive, ReplicaRole.Decode, tokenCount, suspects, loss);
        Replica[] roomy = [.. large.Where(replica => replica.Admission.HasRoom(tokenCount))];
        return (roomy.Length > 0 ? roomy : large).MinBy(DecodeLoad)!;
    }

    /// <summary>Replicas of a role, mixed ones among them, that hold a sequence of so many tokens when they are empty.</summary>
    private static Replica[] Candidates(IReadOnlyList<Replica> alive, ReplicaRole role, int tokenCount, IReadOnlySet<string> suspects, Exception? loss)
    {
        Replica[] candidates = [.. alive.Where(replica => replica.Plan.Role == role || replica.Plan.Role == ReplicaRole.Mixed)];
        if (candidates.Length == 0)
        {
            // Better a replica of the other role than none: every stage can do both.
            candidates = [.. alive];
        }

        if (candidates.Length == 0)
        {
            throw new NoReplicaException(role == ReplicaRole.Prefill ? "prefill" : "decode", loss);
        }

        Replica[] large = [.. candidates.Where(replica => replica.Admission.BlocksFor(tokenCount) <= replica.Admission.BlockCount)];
        Replica[] trusted = [.. large.Where(replica => !IsSuspect(replica, suspects))];
        if (trusted.Length == 0 && suspects.Count > 0)
        {
            // Two replicas that do not reach each other, and no others: one of them can do all the work.
            trusted = [.. alive.Where(replica => !IsSuspect(replica, suspects) && replica.Admission.BlocksFor(tokenCount) <= replica.Admission.BlockCount)];
        }

        return trusted.Length > 0 ? trusted : large.Length > 0 ? large : throw new ArgumentOutOfRangeException(
            nameof(tokenCount), tokenCount, $"A sequence of {tokenCount} tokens fits no replica; the largest holds {candidates.Max(replica => replica.Admission.BlockCount)} KV blocks.");
    }

    private static bool IsSuspect(Replica replica, IReadOnlySet<string> suspects) => replica.Plan.Stages.Any(stage => suspects.Contains(stage.Device));

    /// <summary>What decides between decode replicas, with one more sequence than are there or wait.</summary>
    private static (double SecondsPerToken, double Load) DecodeLoad(Replica replica) => replica.Plan.DecodeLoad(replica.Admission.ClaimCount + 1);
}
