using E2LLM.Deployment;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>
/// What a request gets where no other is served, on the best route of a plan: of all pairs of a replica that reads and one that generates the one with which it ends soonest, for each pair of lengths.
/// Waiting is what it takes beyond that. Which route a dispatcher would take for a request alone does not matter: it may well be a slower one.
/// </summary>
internal sealed class AloneRoutes
{
    private readonly Dictionary<(int Prompt, int Output), MeasuredRequest> _best;

    /// <param name="routes">What single requests got, several of each pair of lengths, on each route.</param>
    public AloneRoutes(IEnumerable<IReadOnlyList<MeasuredRequest>> routes)
    {
        Means = [.. routes.SelectMany(route => route.GroupBy(one => one.Lengths).Select(group => group.First() with
        {
            TtftSeconds = group.Average(one => one.TtftSeconds), TpotSeconds = group.Average(one => one.TpotSeconds),
        }))];
        _best = Means.GroupBy(one => one.Lengths).ToDictionary(group => group.Key, group => group.MinBy(one => one.EndToEndSeconds)!);
    }

    /// <summary>Route after route, the mean of the requests of each pair of lengths.</summary>
    public IReadOnlyList<MeasuredRequest> Means { get; }

    public MeasuredRequest this[MeasuredRequest request] => _best[request.Lengths];

    /// <summary>Every pair of replicas that can serve a request, as a plan of its own.</summary>
    public static IEnumerable<DeploymentPlan> Of(DeploymentPlan plan) =>
        from prefill in plan.Replicas
        where prefill.Role != ReplicaRole.Decode
        from decode in plan.Replicas
        where decode.Role != ReplicaRole.Prefill
        select plan with { Replicas = prefill == decode ? [prefill] : [prefill, decode] };
}
