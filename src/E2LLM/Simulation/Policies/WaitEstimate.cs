using E2LLM.Deployment;
using E2LLM.Simulation.Engine;

namespace E2LLM.Simulation.Policies;

/// <summary>Estimates of when a replica would be done with a request, from queue lengths and the rates of the plan. Stateless.</summary>
internal static class WaitEstimate
{
    /// <summary>Seconds until the prompt would be done: <c>(pending prompt tokens + own) / rate</c>.</summary>
    public static double PrefillSeconds(ReplicaState replica, RequestState request) =>
        (replica.PendingPromptTokens + request.PrefillTokens) / replica.Model.PrefillTokensPerSecond;

    /// <summary>
    /// Seconds until the last token would be there: the wait for a slot, <c>requests ahead of the slots * mean tokens left / rate</c>, and the own
    /// tokens at the pace of the replica with this request among its sequences.
    /// </summary>
    public static double DecodeSeconds(ReplicaState replica, RequestState request)
    {
        int sequences = Sequences(replica);
        return SlotSeconds(replica, sequences) + ((request.OutputTokens - request.GeneratedTokens) * replica.Model.StepSeconds(sequences + 1));
    }

    /// <summary>Seconds until one more of so many sequences would have a slot.</summary>
    public static double SlotSeconds(ReplicaState replica, int sequences)
    {
        int ahead = sequences - replica.Model.DecodeSlots + 1;
        return ahead > 0 ? ahead * ((double)replica.PendingOutputTokens / Math.Max(1, replica.PendingDecodes)) / replica.Model.DecodeTokensPerSecond : 0;
    }

    /// <summary>Seconds by which the others get later if this request decodes here: every token that they have left, times what the step grows by.</summary>
    public static double DecodeBurden(ReplicaState replica)
    {
        int sequences = Sequences(replica);
        return sequences >= replica.Model.DecodeSlots
            ? 0
            : replica.PendingOutputTokens * (replica.Model.StepSeconds(sequences + 1) - (sequences > 0 ? replica.Model.StepSeconds(sequences) : 0));
    }

    /// <summary>Seconds by which decoding sequences get later if this prompt is computed beside them.</summary>
    public static double PrefillBurden(ReplicaState replica, RequestState request) =>
        replica.PendingDecodes * (request.PrefillTokens / replica.Model.PrefillTokensPerSecond);

    /// <summary>Sequences that decode or will: prompts that wait in a mixed replica will decode there too.</summary>
    public static int Sequences(ReplicaState replica) =>
        replica.PendingDecodes + (replica.Model.Role == ReplicaRole.Mixed ? replica.PrefillQueue.Count : 0);
}

/// <summary>Joins the shortest estimated wait, own service included. A prefill replica is judged by itself and the best decode replica that its prompts can go to.</summary>
internal sealed class JsqWaitRouter(List<ReplicaState> replicas, Func<int, int, bool> canMove) : RequestRouter(replicas, canMove)
{
    /// <inheritdoc/>
    protected override double PrefillKey(ReplicaState replica, RequestState request)
    {
        bool mixed = replica.Model.Role == ReplicaRole.Mixed;
        double decode = double.PositiveInfinity;
        foreach (ReplicaState other in Replicas)
        {
            if (other.AcceptsDecode && MayDecode(other, replica.Index, mixed))
            {
                decode = Math.Min(decode, WaitEstimate.DecodeSeconds(other, request));
            }
        }

        return WaitEstimate.PrefillSeconds(replica, request) + (double.IsFinite(decode) ? decode : 0);
    }

    /// <inheritdoc/>
    protected override double DecodeKey(ReplicaState replica, RequestState request) => WaitEstimate.DecodeSeconds(replica, request);
}

/// <summary>
/// Joins where the request delays everybody least, itself included: its own estimated time plus what it adds to those that it would join. In a batch every
/// sequence slows the others a little, and a prompt beside decoding sequences slows them a lot; a router that asks only for the own time crowds the fastest replica.
/// </summary>
internal sealed class LeastDelayRouter(List<ReplicaState> replicas, Func<int, int, bool> canMove) : RequestRouter(replicas, canMove)
{
    /// <summary>Own time and burden of decoding at a replica.</summary>
    public static double Decode(ReplicaState replica, RequestState request) => WaitEstimate.DecodeSeconds(replica, request) + WaitEstimate.DecodeBurden(replica);

    /// <summary>Own time and burden of a prompt at a replica.</summary>
    public static double Prefill(ReplicaState replica, RequestState request) =>
        WaitEstimate.PrefillSeconds(replica, request) + WaitEstimate.PrefillBurden(replica, request);

    /// <inheritdoc/>
    protected override double PrefillKey(ReplicaState replica, RequestState request)
    {
        bool mixed = replica.Model.Role == ReplicaRole.Mixed;
        double decode = double.PositiveInfinity;
        foreach (ReplicaState other in Replicas)
        {
            if (other.AcceptsDecode && MayDecode(other, replica.Index, mixed))
            {
                decode = Math.Min(decode, Decode(other, request));
            }
        }

        return Prefill(replica, request) + (double.IsFinite(decode) ? decode : 0);
    }

    /// <inheritdoc/>
    protected override double DecodeKey(ReplicaState replica, RequestState request) => Decode(replica, request);
}
