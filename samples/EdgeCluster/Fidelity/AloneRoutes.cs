using E2LLM.Deployment;
using E2LLM.Simulation;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>
/// What a request gets where no other is served, on the best route of a plan: of all pairs of a replica that reads and one that generates the one with which it ends soonest, for each pair of lengths.
/// Waiting is what it takes beyond that. Which route a dispatcher would take for a request alone does not matter: it may well be a slower one.
/// </summary>
internal sealed class AloneRoutes
{
    private readonly Dictionary<(int Prompt, int Output), MeasuredRequest> best;

    /// <param name="routes">What single requests got, several of each pair of lengths, on each route.</param>
    public AloneRoutes(IEnumerable<IReadOnlyList<MeasuredRequest>> routes) => best = routes
        .SelectMany(route => route.GroupBy(LengthsOf).Select(group => group.OrderBy(one => one.EndToEndSeconds).ElementAt(group.Count() / 2)))
        .GroupBy(LengthsOf).ToDictionary(group => group.Key, group => group.MinBy(one => one.EndToEndSeconds)!);

    public MeasuredRequest this[MeasuredRequest request] => best[LengthsOf(request)];

    /// <summary>Every pair of replicas that can serve a request, as a plan of its own.</summary>
    public static IEnumerable<DeploymentPlan> Of(DeploymentPlan plan) =>
        from prefill in plan.Replicas
        where prefill.Role != ReplicaRole.Decode
        from decode in plan.Replicas
        where decode.Role != ReplicaRole.Prefill
        select plan with { Replicas = prefill == decode ? [prefill] : [prefill, decode] };

    /// <summary>A simulated request as if it had been measured.</summary>
    public static MeasuredRequest Measured(CompletedRequest one) => new(
        one.Request.PromptTokens, one.Request.OutputTokens, one.FirstTokenSeconds - one.Request.ArrivalSeconds,
        (one.EndSeconds - one.FirstTokenSeconds) / Math.Max(1, one.Request.OutputTokens - 1));

    private static (int Prompt, int Output) LengthsOf(MeasuredRequest one) => (one.PromptTokens, one.OutputTokens);
}
