using E2LLM.Simulation.Engine;

namespace E2LLM.Simulation.Policies;

/// <summary>
/// What this library's own dispatcher does: both replicas when the request comes; for the prompt the replica that would be through soonest, <c>(tokens ahead + own) / rate</c>; for generation the
/// one with the fewest planned seconds per token of each sequence, <c>(sequences + 1) / rate</c>, of those with a slot and memory now if there is one.
/// </summary>
internal sealed class DispatcherRouter(IReadOnlyList<ReplicaState> replicas, Func<int, int, bool> canMove) : RequestRouter(replicas, canMove)
{
    /// <inheritdoc/>
    public override int ChooseDecode(RequestState request, bool withMemoryNow)
    {
        int whole = KvMemory.RoundUp(request.PromptTokens + request.OutputTokens);
        int roomy = Best(request, r => r.AcceptsDecode && r.PendingDecodes < r.Model.DecodeSlots && r.WaitingForMemory.Count == 0 && r.Memory.Fits(0, whole), DecodeKey);
        return roomy >= 0 ? roomy : Best(request, r => r.AcceptsDecode && r.Model.CanHold(whole), DecodeKey);
    }

    /// <inheritdoc/>
    protected override double PrefillKey(ReplicaState replica, RequestState request) => WaitEstimate.PrefillSeconds(replica, request);

    /// <inheritdoc/>
    protected override double DecodeKey(ReplicaState replica, RequestState request) => (replica.PendingDecodes + 1) / replica.Model.DecodeTokensPerSecond;
}
