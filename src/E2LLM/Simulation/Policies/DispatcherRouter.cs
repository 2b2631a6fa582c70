using E2LLM.Deployment;
using E2LLM.Simulation.Engine;

namespace E2LLM.Simulation.Policies;

/// <summary>
/// What this library's own dispatcher does: both replicas when the request comes; for the prompt the replica that would be through soonest, <c>(tokens ahead + own) / rate</c>, the rate as planned
/// first and then as measured; for generation the one with the fewest planned seconds per token of each sequence with one more (<see cref="ReplicaPlan.DecodeLoad"/>), of those
/// with a slot and memory now if there is one.
/// </summary>
internal sealed class DispatcherRouter(List<ReplicaState> replicas, Func<int, int, bool> canMove) : RequestRouter(replicas, canMove)
{
    private readonly List<MeasuredPrefillRate> _rates = [];

    /// <inheritdoc/>
    public override int ChooseDecode(RequestState request, bool withMemoryNow)
    {
        int whole = KvMemory.RoundUp(request.PromptTokens + request.OutputTokens);
        int roomy = BestDecode(request, whole, roomNow: true);
        return roomy >= 0 ? roomy : BestDecode(request, whole, roomNow: false);
    }

    /// <inheritdoc/>
    public override void PromptRead(ReplicaState replica, RequestState request, double now) => RateOf(replica).Done(request.PrefillTokens, request.QueuedAt, now);

    /// <inheritdoc/>
    protected override double PrefillKey(ReplicaState replica, RequestState request) =>
        (replica.UnfinishedPromptTokens + request.PrefillTokens) * RateOf(replica).SecondsPerToken;

    /// <inheritdoc/>
    protected override double DecodeKey(ReplicaState replica, RequestState request) => replica.Model.Plan.DecodeLoad(replica.PendingDecodes + 1).SecondsPerToken;

    private int BestDecode(RequestState request, int whole, bool roomNow)
    {
        int best = -1;
        (double SecondsPerToken, double Load) least = (double.PositiveInfinity, 0);
        for (int i = 0; i < Replicas.Count; i++)
        {
            ReplicaState r = Replicas[i];
            bool fits = roomNow ? r.PendingDecodes < r.Model.DecodeSlots && r.WaitingForMemory.Count == 0 && r.Memory.Fits(0, whole) : r.Model.CanHold(whole);
            if (fits && r.AcceptsDecode && r.Model.Plan.DecodeLoad(r.PendingDecodes + 1) is var value && value.CompareTo(least) < 0)
            {
                (best, least) = (i, value);
            }
        }

        return best;
    }

    // A new plan brings new replicas in mid-run.
    private MeasuredPrefillRate RateOf(ReplicaState replica)
    {
        while (_rates.Count <= replica.Index)
        {
            _rates.Add(new MeasuredPrefillRate(Replicas[_rates.Count].Model.PrefillTokensPerSecond));
        }

        return _rates[replica.Index];
    }
}
