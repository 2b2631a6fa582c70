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
    /// Seconds until the last token would be there: the wait for a slot, <c>requests ahead of the slots * mean tokens left / rate</c>, and the own tokens at
    /// the pace of a full replica, <c>tokens * slots / rate</c>.
    /// </summary>
    public static double DecodeSeconds(ReplicaState replica, RequestState request)
    {
        int slots = replica.Model.DecodeSlots, ahead = replica.PendingDecodes - slots + 1;
        double rate = replica.Model.DecodeTokensPerSecond;
        double wait = ahead > 0 ? ahead * ((double)replica.PendingOutputTokens / replica.PendingDecodes) / rate : 0;
        return wait + ((request.OutputTokens - request.GeneratedTokens) * (double)slots / rate);
    }

    /// <summary>Both phases on one replica.</summary>
    public static double MixedSeconds(ReplicaState replica, RequestState request) =>
        PrefillSeconds(replica, request) + DecodeSeconds(replica, request);
}

/// <summary>Joins the shortest estimated wait, own service included. A replica that does both phases is judged by both, one that only prefills by itself and the best decode replica.</summary>
internal sealed class JsqWaitRouter(IReadOnlyList<ReplicaState> replicas, Func<int, int, bool> canMove) : RequestRouter(replicas, canMove)
{
    /// <inheritdoc/>
    protected override double PrefillKey(ReplicaState replica, RequestState request)
    {
        if (replica.Model.Role == ReplicaRole.Mixed)
        {
            return WaitEstimate.MixedSeconds(replica, request);
        }

        double decode = double.PositiveInfinity;
        foreach (ReplicaState other in Replicas)
        {
            if (other.AcceptsDecode && other.Model.Role == ReplicaRole.Decode)
            {
                decode = Math.Min(decode, WaitEstimate.DecodeSeconds(other, request));
            }
        }

        return WaitEstimate.PrefillSeconds(replica, request) + (double.IsFinite(decode) ? decode : 0);
    }

    /// <inheritdoc/>
    protected override double DecodeKey(ReplicaState replica, RequestState request) => WaitEstimate.DecodeSeconds(replica, request);
}
