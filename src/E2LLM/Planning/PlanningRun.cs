using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning.Clustering;

namespace E2LLM.Planning;

/// <summary>One planning run: chooses the search, makes plans of what it found, takes the best by the objective. Stateless.</summary>
internal static class PlanningRun
{
    public static PlanningResult Run(
        Cluster cluster, ModelCost model, Workload workload, PlannerOptions options,
        IProgress<PlanningProgress>? progress, CancellationToken cancellation)
    {
        var problem = new PlanningProblem(cluster, model, workload, options);
        IGroupRates rates = problem.LinksUniform ? new GroupRates(problem) : new LinkAwareRates(problem, cancellation);
        SearchOutcome? outcome = ExactSearch.TryRun(problem, rates, progress, cancellation);
        if (outcome is null || outcome.Groups.Count == 0 || !(outcome.Value > 0))
        {
            return PlanningResult.None(Feasibility.Explain(problem));
        }

        var assembler = new PlanAssembler(problem);
        DeploymentPlan plan = assembler.Assemble(assembler.Drafts(outcome.Groups, rates), "exact");
        IPlanObjective objective = options.Objective ?? PlanObjectives.Capacity;
        double value = plan.Predicted.RequestsPerSecond;
        return PlanningResult.Of(plan with
        {
            Objective = new PlanObjective
            {
                Kind = objective.Kind,
                Value = value,
                Bound = outcome.Bound,
                GapFraction = Math.Max(0, (outcome.Bound - value) / outcome.Bound),
                Proved = value >= outcome.Bound * (1 - 1e-9),
            },
        });
    }
}
