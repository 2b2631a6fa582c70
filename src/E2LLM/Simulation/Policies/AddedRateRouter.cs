using E2LLM.Deployment;
using E2LLM.Simulation.Engine;

namespace E2LLM.Simulation.Policies;

/// <summary>
/// Joins where a further sequence adds most tokens per second. In the long run requests come at the rate at which they leave, so the number of them in the system, and by Little's law their mean
/// time, is least where every sequence buys the most rate: with <c>n</c> sequences in steps of <c>s(n)</c> the rate is <c>n / s(n)</c>, and a request of <c>k</c> tokens costs
/// <c>k / (rate(n + 1) - rate(n))</c> seconds of sequences. The own time alone, <c>k s(n + 1)</c>, spreads requests; the delay of those present leaves out those to come. It matters where a
/// step grows fast with the first sequences and slowly with more, as with mixtures of experts.
/// </summary>
internal sealed class AddedRateRouter(List<ReplicaState> replicas, Func<int, int, bool> canMove) : RequestRouter(replicas, canMove)
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
                decode = Math.Min(decode, DecodeKey(other, request));
            }
        }

        return LeastDelayRouter.Prefill(replica, request) + (double.IsFinite(decode) ? decode : 0);
    }

    /// <inheritdoc/>
    protected override double DecodeKey(ReplicaState replica, RequestState request)
    {
        int sequences = WaitEstimate.Sequences(replica), beside = Math.Min(sequences, replica.Model.DecodeSlots - 1);
        return WaitEstimate.SlotSeconds(replica, sequences) + ((request.OutputTokens - request.GeneratedTokens) / AddedRate(replica, beside));
    }

    // Lanes take sequences in turn, so the rate grows in stairs of as many as there are stages; the best mean growth over one stair counts.
    private static double AddedRate(ReplicaState replica, int sequences)
    {
        double now = sequences > 0 ? sequences / replica.Model.StepSeconds(sequences) : 0, most = 0;
        for (int more = 1; more <= replica.Lanes.Length && sequences + more <= replica.Model.DecodeSlots; more++)
        {
            most = Math.Max(most, (((sequences + more) / replica.Model.StepSeconds(sequences + more)) - now) / more);
        }

        // Where further sequences add nothing, the last resort.
        return Math.Max(most, 1e-9);
    }
}
