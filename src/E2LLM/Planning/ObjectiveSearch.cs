using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>
/// Improves a plan of largest capacity for another objective. Candidates are the best plans under tighter rules (fewer decode slots, fewer stages, no mixed replicas, a shorter
/// decode step), since waiting, latency and hops want what these give; from the best of them steps are taken while one helps (<see cref="PlanNeighbours"/>: slots, roles, devices).
/// Every candidate is judged by the objective itself, so a simulated objective ranks them as it does. Deterministic. Stateless.
/// </summary>
internal static class ObjectiveSearch
{
    private const int MaxRounds = 8;

    public static DeploymentPlan Improve(
        PlanningProblem problem, DeploymentPlan start, IPlanObjective objective, Func<PlannerOptions, DeploymentPlan?> plan,
        IProgress<PlanningProgress>? progress, CancellationToken cancellation)
    {
        PlannerOptions options = problem.Options;
        var candidates = new List<DeploymentPlan> { start };
        var rules = new List<PlannerOptions>();
        if (options.AllowMixed)
        {
            rules.Add(options with { AllowMixed = false });
        }

        foreach (int slots in new[] { 1, 2, 4, 8, 16, 32 })
        {
            if (slots < options.MaxDecodeSlots)
            {
                rules.Add(options with { MaxDecodeSlots = slots });
            }
        }

        foreach (int stages in new[] { 1, 2, 3, 4 })
        {
            if (stages < problem.MaxStageCount && stages < problem.Devices.Length)
            {
                rules.Add(options with { MaxStageCount = stages });
            }
        }

        bool small = problem.Devices.Length <= 16;
        for (int i = 0; i < rules.Count && (small || i < 3); i++)
        {
            cancellation.ThrowIfCancellationRequested();
            progress?.Report(new PlanningProgress("candidates", (double)i / rules.Count, 0, double.PositiveInfinity));
            if (plan(rules[i]) is { } candidate)
            {
                candidates.Add(candidate);
            }
        }

        DeploymentPlan best = start;
        double value = double.NaN;
        var seen = new HashSet<string>();
        foreach (DeploymentPlan candidate in candidates)
        {
            if (seen.Add(candidate.ToJson()))
            {
                Take(problem, objective, candidate, ref best, ref value);
            }
        }

        return Climb(problem, objective, best, value, progress, cancellation);
    }

    private static void Take(PlanningProblem problem, IPlanObjective objective, DeploymentPlan candidate, ref DeploymentPlan best, ref double value)
    {
        double its = objective.Evaluate(candidate, problem.Cluster, problem.Model, problem.Workload);
        if (double.IsNaN(value) || (objective.HigherIsBetter ? its > value : its < value))
        {
            (best, value) = (candidate, its);
        }
    }

    // Steepest ascent: of all plans one step away the best, until none is better.
    private static DeploymentPlan Climb(
        PlanningProblem problem, IPlanObjective objective, DeploymentPlan best, double value, IProgress<PlanningProgress>? progress, CancellationToken cancellation)
    {
        var neighbours = new PlanNeighbours(problem);
        var seen = new HashSet<string> { PlanNeighbours.Key(best) };
        for (int round = 0; round < MaxRounds; round++)
        {
            DeploymentPlan before = best;
            foreach (DeploymentPlan candidate in neighbours.Of(before))
            {
                cancellation.ThrowIfCancellationRequested();
                if (seen.Add(PlanNeighbours.Key(candidate)) && !TooFew(candidate, problem.Options.MinimumReplicasPerPhase))
                {
                    Take(problem, objective, candidate, ref best, ref value);
                }
            }

            progress?.Report(new PlanningProgress("neighbours", (double)(round + 1) / MaxRounds, 0, double.PositiveInfinity));
            if (ReferenceEquals(before, best))
            {
                break;
            }
        }

        return best;
    }

    /// <summary>Whether a phase has fewer replicas than wanted.</summary>
    public static bool TooFew(DeploymentPlan plan, int wanted) => wanted > 1
        && (plan.Replicas.Count(item => item.Role != ReplicaRole.Decode) < wanted || plan.Replicas.Count(item => item.Role != ReplicaRole.Prefill) < wanted);
}
