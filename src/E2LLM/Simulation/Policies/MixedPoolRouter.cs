using E2LLM.Deployment;
using E2LLM.Simulation.Engine;

namespace E2LLM.Simulation.Policies;

/// <summary>
/// Splitwise's scheduler on a physical cluster: both replicas of a request are chosen at its arrival. While every prompt queue is longer than the
/// limit, a decode replica is lent to prefill; while no decode replica has memory left, a prefill replica is lent to decode; a lent replica
/// goes back when it is idle. In its strongest form: replicas are unlike here, so they are compared by estimated delay (of all, as in LeastDelayRouter) and not by tokens, and a
/// replica is lent only where that is expected to be sooner. Source: ISCA 2024, and splitwise-sim's MixedPoolScheduler.
/// </summary>
internal sealed class MixedPoolRouter(List<ReplicaState> replicas, Func<int, int, bool> canMove, int promptTokenLimit) : RequestRouter(replicas, canMove)
{
    /// <inheritdoc/>
    public override bool TryRoute(RequestState request)
    {
        if (!base.TryRoute(request))
        {
            return false;
        }

        ReplicaState prompt = Replicas[request.PrefillReplica];
        if (prompt.HasPromptWork && prompt.PendingPromptTokens + request.PrefillTokens > promptTokenLimit)
        {
            int lent = BestPrefill(request, static r => r.IsUp && r.Model.Role == ReplicaRole.Decode && !r.IsLent);
            if (lent >= 0 && PrefillKey(Replicas[lent], request) < PrefillKey(prompt, request))
            {
                Replicas[lent].IsLent = true;
                request.PrefillReplica = lent;
            }
        }

        return true;
    }

    /// <inheritdoc/>
    public override int ChooseDecode(RequestState request, bool withMemoryNow)
    {
        int choice = base.ChooseDecode(request, withMemoryNow);
        int whole = KvMemory.RoundUp(request.PromptTokens + request.OutputTokens);
        if (choice >= 0 && Replicas[choice].Memory.Fits(0, whole) && Replicas[choice].PendingDecodes < Replicas[choice].Model.DecodeSlots)
        {
            return choice;
        }

        // Decode memory (or every slot) is taken: the prompt stays where it was computed, if that is sooner.
        ReplicaState source = Replicas[request.PrefillReplica];
        bool sooner = source.IsUp && source.Model.Role == ReplicaRole.Prefill && source.Model.CanHold(whole)
            && (choice < 0 || DecodeKey(source, request) < DecodeKey(Replicas[choice], request));
        if (sooner)
        {
            source.IsLent = true;
            return source.Index;
        }

        return choice;
    }

    /// <inheritdoc/>
    public override void ReplicaIdle(ReplicaState replica)
    {
        if (replica.IsLent && (replica.Model.Role == ReplicaRole.Decode ? replica.PendingPrefills : replica.PendingDecodes) == 0)
        {
            replica.IsLent = false;
        }
    }

    /// <inheritdoc/>
    protected override double PrefillKey(ReplicaState replica, RequestState request) => LeastDelayRouter.Prefill(replica, request);

    /// <inheritdoc/>
    protected override double DecodeKey(ReplicaState replica, RequestState request) => LeastDelayRouter.Decode(replica, request);
}
