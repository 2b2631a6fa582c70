using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning.Clustering;
using E2LLM.Planning.Partitioning;

namespace E2LLM.Planning;

/// <summary>One planning run: chooses the search, makes plans of what it found, takes the best by the objective. Stateless.</summary>
internal static class PlanningRun
{
    private const int CliqueCount = 4;

    /// <summary>What one search gave. Immutable.</summary>
    private sealed record Found(DeploymentPlan Plan, double Bound, string Tried);

    public static PlanningResult Run(
        Cluster cluster, ModelCost model, Workload workload, PlannerOptions options,
        IProgress<PlanningProgress>? progress, CancellationToken cancellation)
    {
        var problem = new PlanningProblem(cluster, model, workload, options);
        Found? found = Best(problem, options, progress, cancellation);
        if (found is null)
        {
            return PlanningResult.None(Feasibility.Explain(problem));
        }

        if (ObjectiveSearch.TooFew(found.Plan, options.MinimumReplicasPerPhase))
        {
            return PlanningResult.None(new Infeasible
            {
                Constraint = "roles",
                At = "cluster",
                Message = $"No plan was found with {options.MinimumReplicasPerPhase} replicas for each phase; the best without that has {found.Plan.Replicas.Count} in all.",
            });
        }

        DeploymentPlan plan = found.Plan;
        if (options.Objective is { } objective && !ReferenceEquals(objective, PlanObjectives.Capacity))
        {
            plan = ObjectiveSearch.Improve(
                problem, plan, objective,
                rules => Best(problem, rules, null, cancellation)?.Plan is { } candidate && !ObjectiveSearch.TooFew(candidate, options.MinimumReplicasPerPhase) ? candidate : null,
                progress, cancellation);
        }

        if (options.SpeedErrorFraction > 0)
        {
            plan = RobustSearch.Choose(
                problem, plan, drawn => Best(new PlanningProblem(drawn, model, workload, options), options, null, cancellation)?.Plan, progress, cancellation);
        }

        plan = plan with { Objective = Certificates.Of(problem, plan, found.Bound) };
        PlanSensitivity.Finding? memory = options.ExplainMemory
            ? PlanSensitivity.OfMemory(problem, found.Plan, raised => Best(raised, options, null, cancellation)?.Plan, cancellation) : null;
        return PlanningResult.Of(plan with { Explanation = PlanExplanation.Explain(problem, plan, found.Tried, memory) });
    }

    /// <summary>The plan of the largest capacity that the options allow, with a bound for the whole cluster.</summary>
    private static Found? Best(
        PlanningProblem whole, PlannerOptions options, IProgress<PlanningProgress>? progress, CancellationToken cancellation)
    {
        PlanningProblem problem = ReferenceEquals(options, whole.Options)
            ? whole : new PlanningProblem(whole.Cluster, whole.Model, whole.Workload, options);
        List<int[]> cliques = Connectivity.Cliques(problem, CliqueCount);
        bool all = cliques.Count > 0 && cliques[0].Length == problem.Devices.Length;
        Found? best = null;
        foreach (int[] clique in all ? [cliques[0]] : cliques)
        {
            PlanningProblem part = all ? problem : new PlanningProblem(problem, clique, options.AllowMixed);
            Found? found = Search(part, progress, cancellation);
            if (found is not null && (best is null || found.Plan.Predicted.RequestsPerSecond > best.Plan.Predicted.RequestsPerSecond))
            {
                best = found;
            }
        }

        if (!all)
        {
            best ??= Chain(problem, cancellation);
        }

        if (best is null)
        {
            return null;
        }

        // Devices outside the part, or layers unlike the surrogate: only the fluid bound holds for them.
        double bound = all && problem.LayersUniform ? best.Bound : Math.Min(new FluidBound(problem).Value, double.MaxValue);
        return best with { Bound = Math.Max(bound, best.Plan.Predicted.RequestsPerSecond) };
    }

    private static Found? Search(PlanningProblem problem, IProgress<PlanningProgress>? progress, CancellationToken cancellation)
    {
        var assembler = new PlanAssembler(problem);
        if (problem.Options.Planner == PlannerKind.E2llm)
        {
            return Genetic(problem, assembler, progress, cancellation);
        }

        bool small = problem.LinksUniform || problem.Devices.Length <= LinkAwareSplit.MaxDevices;
        if (small && problem.Options.Planner != PlannerKind.Anytime)
        {
            IGroupRates rates = problem.LinksUniform ? new GroupRates(problem) : new LinkAwareRates(problem, cancellation);
            SearchOutcome? outcome = ExactSearch.TryRun(problem, rates, progress, cancellation);
            if (outcome is not null)
            {
                // Where links differ larger groups were not looked at: only the fluid bound holds for them.
                bool all = problem.LinksUniform || Math.Min(problem.Devices.Length, problem.MaxStageCount) <= LinkAwareRates.MaxGroup;
                return outcome.Groups.Count == 0 || !(outcome.Value > 0)
                    ? null
                    : Make(problem, assembler, assembler.Drafts(outcome.Groups, rates), "exact", all ? outcome.Bound : new FluidBound(problem).Value, outcome.Tried);
            }
        }

        double bound = new FluidBound(problem).Value;
        var search = new AnytimeSearch(problem, assembler, progress, cancellation);
        (List<ReplicaDraft> drafts, double value) = search.Run(bound);
        return value > 0 ? Make(problem, assembler, drafts, "anytime", bound, search.Tried) : null;
    }

    private static Found? Genetic(
        PlanningProblem problem, PlanAssembler assembler, IProgress<PlanningProgress>? progress, CancellationToken cancellation)
    {
        // The paper's network is uniform: where links differ its search sees the best one, and the plan is judged with the real ones.
        var rates = new GroupRates(problem);
        var search = new GeneticSearch(problem, rates, cancellation);
        (IReadOnlyList<GroupPick> groups, double value) = search.Run(progress);
        if (!(value > 0))
        {
            return null;
        }

        string tried = $"{problem.Options.GeneticGenerations} generations of {problem.Options.GeneticPopulation}, {search.SplitCount} different groups split";
        return Make(problem, assembler, assembler.Drafts(groups, rates), "e2llm", new FluidBound(problem).Value, tried);
    }

    private static Found? Make(
        PlanningProblem problem, PlanAssembler assembler, List<ReplicaDraft> drafts, string planner, double bound, string tried)
    {
        var real = new RealLayers(problem, assembler);
        DeploymentPlan plan = assembler.Assemble([.. drafts.Select(real.Resplit).Select(draft => real.WithinCycle(draft)).OfType<ReplicaDraft>()], planner);
        return plan.Predicted.RequestsPerSecond > 0 ? new Found(plan, bound, tried) : null;
    }

    // No clique holds the model, but a chain of connected devices may: one mixed replica needs its own hops only.
    private static Found? Chain(PlanningProblem problem, CancellationToken cancellation)
    {
        if (!problem.Options.AllowMixed || problem.LinksUniform || problem.Devices.Length > LinkAwareSplit.MaxDevices)
        {
            return null;
        }

        var rates = new LinkAwareRates(problem, cancellation);
        var assembler = new PlanAssembler(problem);
        var counts = new int[problem.Classes.Length];
        Found? best = null;
        for (int state = 1; state < 1 << counts.Length; state++)
        {
            for (int k = 0; k < counts.Length; k++)
            {
                counts[k] = state >> k & 1;
            }

            var choices = new List<MixedChoice>();
            rates.Mixed(state, counts, false, _ => true, choices);
            foreach (MixedChoice choice in choices)
            {
                (double _, double share) = MixedRoles.Share(0, 0, choice.PrefillRate, choice.DecodeRate, problem.Options.MixedSlowdown, choice.Passes);
                var pick = new GroupPick(state, [.. counts], ReplicaRole.Mixed, choice.Split, choice, share);
                Found? found = Make(problem, assembler, assembler.Drafts([pick], rates), "exact", double.PositiveInfinity, "chains of connected devices");
                if (found is not null && (best is null || found.Plan.Predicted.RequestsPerSecond > best.Plan.Predicted.RequestsPerSecond))
                {
                    best = found;
                }
            }
        }

        return best;
    }
}
