using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>
/// Improves a plan of largest capacity for another objective. Candidates are the best plans under tighter rules (fewer decode slots, fewer stages, no mixed replicas, a shorter
/// decode step), since waiting, latency and hops want what these give; then the decode slots of each replica are tuned one by one. Every candidate is judged by the objective
/// itself, so a simulated objective ranks them as it does. Deterministic. Stateless.
/// </summary>
internal static class ObjectiveSearch
{
    private const int TuningRounds = 2;

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

        return Tune(problem, objective, best, value, cancellation);
    }

    private static void Take(PlanningProblem problem, IPlanObjective objective, DeploymentPlan candidate, ref DeploymentPlan best, ref double value)
    {
        double its = objective.Evaluate(candidate, problem.Cluster, problem.Model, problem.Workload);
        if (double.IsNaN(value) || (objective.HigherIsBetter ? its > value : its < value))
        {
            (best, value) = (candidate, its);
        }
    }

    private static DeploymentPlan Tune(
        PlanningProblem problem, IPlanObjective objective, DeploymentPlan best, double value, CancellationToken cancellation)
    {
        var assembler = new PlanAssembler(problem);
        for (int round = 0; round < TuningRounds; round++)
        {
            DeploymentPlan before = best;
            for (int r = 0; r < best.Replicas.Count; r++)
            {
                int slots = best.Replicas[r].DecodeSlots;
                foreach (int other in slots == 0 ? [] : new[] { 1, slots / 2, slots - best.Replicas[r].Stages.Count, slots + best.Replicas[r].Stages.Count, slots * 2 })
                {
                    cancellation.ThrowIfCancellationRequested();
                    if (other >= 1 && other <= problem.Options.MaxDecodeSlots && WithSlots(problem, assembler, best, r, other) is { } candidate)
                    {
                        Take(problem, objective, candidate, ref best, ref value);
                    }
                }
            }

            if (ReferenceEquals(before, best))
            {
                break;
            }
        }

        return best;
    }

    private static DeploymentPlan? WithSlots(PlanningProblem problem, PlanAssembler assembler, DeploymentPlan plan, int changed, int slots)
    {
        var drafts = new List<ReplicaDraft>(plan.Replicas.Count);
        for (int r = 0; r < plan.Replicas.Count; r++)
        {
            ReplicaPlan replica = plan.Replicas[r];
            drafts.Add(new ReplicaDraft(
                replica.Role, r == changed ? slots : replica.DecodeSlots, replica.PrefillShare,
                [.. replica.Stages.Select(stage => problem.Cluster.IndexOf(stage.Device))], [.. replica.Stages.Select(stage => stage.Layers.Count)]));
        }

        ReplicaPlan replaced = assembler.Replica(drafts[changed]);
        foreach (StagePlan stage in replaced.Stages)
        {
            if (stage.MemoryBytes > problem.Cluster.Devices[problem.Cluster.IndexOf(stage.Device)].MemoryBytes)
            {
                return null;
            }
        }

        return assembler.Evaluator.Evaluate(replaced).CycleSeconds <= problem.Work.MaxCycleSeconds ? assembler.Assemble(drafts, plan.Planner) : null;
    }
}
