using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning.Clustering;

namespace E2LLM.Planning;

/// <summary>What a re-plan gives. Immutable.</summary>
/// <param name="Result">The new plan, or the reason why there is none.</param>
/// <param name="MovedBytes">Weights that devices must load for it.</param>
/// <param name="FullPlanCapacity">Capacity of the plan made from scratch for comparison; 0 where that was not asked for.</param>
public sealed record ReplanResult(PlanningResult Result, long MovedBytes, double FullPlanCapacity);

/// <summary>
/// Plans anew after a change with few bytes moved: a device lost or added, a link degraded, the workload drifted. Give it the cluster and workload as they are *now* and the plan that
/// runs. Replicas that are whole keep their devices and layers and may flip their role for nothing; the devices of broken replicas, idle and new ones are planned exactly around
/// them; then more replicas are freed, the cheapest first, until the capacity is near that of a plan from scratch. Among all candidates within the wanted share of the
/// best capacity the one that moves least is taken. Stateless; thread-safe; deterministic.
/// </summary>
public static class Replanner
{
    private const int MaxPart = 10;

    /// <summary>Plans anew.</summary>
    /// <param name="current">The plan that runs.</param>
    /// <param name="cluster">The cluster as it is now: without lost devices, with new ones.</param>
    /// <param name="model">The model.</param>
    /// <param name="workload">The workload as it is now.</param>
    /// <param name="options">Settings of the plan.</param>
    /// <param name="capacityShare">Share of the best capacity found that the plan must have. Default 0.95.</param>
    /// <param name="progress">Told how far the search is.</param>
    /// <param name="cancellationToken">Ends the search.</param>
    /// <exception cref="ArgumentOutOfRangeException">The share is not above 0 and at most 1, or an option is outside its range.</exception>
    public static ReplanResult Replan(
        DeploymentPlan current, Cluster cluster, ModelCost model, Workload workload, PlannerOptions? options = null,
        double capacityShare = 0.95, IProgress<PlanningProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(current);
        if (!(capacityShare > 0 && capacityShare <= 1))
        {
            throw new ArgumentOutOfRangeException(nameof(capacityShare), capacityShare, "Must be above 0 and at most 1.");
        }

        options ??= new PlannerOptions();
        PlanningResult full = DeploymentPlanner.Plan(cluster, model, workload, options with { ExplainMemory = false }, progress, cancellationToken);
        if (!full.IsFeasible)
        {
            return new ReplanResult(full, 0, 0);
        }

        var problem = new PlanningProblem(cluster, model, workload, options);
        var assembler = new PlanAssembler(problem);
        List<ReplicaDraft> whole = Whole(current, problem, assembler);
        var candidates = new List<DeploymentPlan> { MoveLess(full.Plan, current, problem, assembler) };
        int[] sets = [.. Subsets(whole.Count)];
        for (int i = 0; i < sets.Length; i++)
        {
            int freed = sets[i];
            cancellationToken.ThrowIfCancellationRequested();
            progress?.Report(new PlanningProgress("plans around what runs", (double)i / sets.Length, candidates.Max(plan => plan.Predicted.RequestsPerSecond), double.PositiveInfinity));
            if (Around(whole, freed, problem, assembler, cancellationToken) is { } plan)
            {
                candidates.Add(MoveLess(plan, current, problem, assembler));
            }
        }

        double best = candidates.Max(plan => plan.Predicted.RequestsPerSecond);
        if (FewestMoves.Find(problem, assembler, current, best * capacityShare, cancellationToken) is { } few)
        {
            candidates.Add(few);
        }

        DeploymentPlan chosen = candidates
            .Where(plan => plan.Predicted.RequestsPerSecond >= best * capacityShare)
            .OrderBy(plan => PlanDifference.MovedBytes(current, plan, model))
            .ThenByDescending(plan => plan.Predicted.RequestsPerSecond)
            .First();
        long moved = PlanDifference.MovedBytes(current, chosen, model);
        double bound = Math.Max(full.Plan.Objective.Kind == "capacity" ? full.Plan.Objective.Bound : new FluidBound(problem).Value, chosen.Predicted.RequestsPerSecond);
        PlanObjective objective = Certificates.Of(problem, chosen, bound);
        string tried = $"{candidates.Count} plans around what runs; {moved} bytes of weights move";
        return new ReplanResult(
            PlanningResult.Of(chosen with { Objective = objective, Explanation = PlanExplanation.Explain(problem, chosen, tried) }), moved, full.Plan.Predicted.RequestsPerSecond);
    }

    // Replicas all of whose devices are still there, still fit and are still connected.
    private static List<ReplicaDraft> Whole(DeploymentPlan current, PlanningProblem problem, PlanAssembler assembler)
    {
        var whole = new List<ReplicaDraft>();
        foreach (ReplicaPlan replica in current.Replicas)
        {
            int[] devices = [.. replica.Stages.Select(stage => problem.Cluster.IndexOf(stage.Device))];
            int[] layers = [.. replica.Stages.Select(stage => stage.Layers.Count)];
            if (Array.IndexOf(devices, -1) < 0 && layers.Sum() == problem.LayerCount && Connected(devices, problem))
            {
                var draft = new ReplicaDraft(replica.Role, replica.DecodeSlots, replica.PrefillShare, devices, layers);
                if (Fits(draft, problem, assembler))
                {
                    whole.Add(draft);
                }
            }
        }

        return whole;
    }

    private static bool Connected(int[] devices, PlanningProblem problem)
    {
        for (int j = 0; devices.Length > 1 && j < devices.Length; j++)
        {
            if (problem.Network[devices[j], devices[(j + 1) % devices.Length]] is null)
            {
                return false;
            }
        }

        return true;
    }

    private static bool Fits(ReplicaDraft draft, PlanningProblem problem, PlanAssembler assembler)
    {
        ReplicaPlan replica = assembler.Replica(draft);
        for (int j = 0; j < replica.Stages.Count; j++)
        {
            DeviceProfile device = problem.Cluster.Devices[draft.Devices[j]];
            if (replica.Stages[j].MemoryBytes > device.MemoryBytes + (problem.Options.UseHostMemory ? device.HostMemoryBytes : 0))
            {
                return false;
            }
        }

        return assembler.Evaluator.Evaluate(replica).CycleSeconds <= problem.Work.MaxCycleSeconds;
    }

    // Which whole replicas are freed too: none, each one, each pair, all. Few replicas, so few sets.
    private static IEnumerable<int> Subsets(int count)
    {
        yield return 0;
        int most = Math.Min(count, 30);
        for (int i = 0; i < most; i++)
        {
            yield return 1 << i;
        }

        for (int i = 0; i < most && most <= 12; i++)
        {
            for (int j = 0; j < i; j++)
            {
                yield return 1 << i | 1 << j;
            }
        }
    }

    private static DeploymentPlan? Around(
        List<ReplicaDraft> whole, int freed, PlanningProblem problem, PlanAssembler assembler, CancellationToken cancellation)
    {
        var kept = new List<ReplicaDraft>();
        for (int i = 0; i < whole.Count; i++)
        {
            if (i >= 31 || (freed >> i & 1) == 0)
            {
                kept.Add(whole[i]);
            }
        }

        var used = new HashSet<int>(kept.SelectMany(draft => draft.Devices));
        int[] free = [.. problem.Devices.Where(device => !used.Contains(device))];
        if (free.Length > MaxPart && ClassStates.TryCreate(Array.ConvertAll(new PlanningProblem(problem, free, false).Classes, item => item.Devices.Length), 1 << MaxPart) is null)
        {
            return null;
        }

        DeploymentPlan? best = null;

        // Devices, rates and groups are the same for all flips; only whether a mixed replica may be added differs.
        var parts = new Dictionary<bool, (PlanningProblem Part, IGroupRates Rates, PatternTable? Table)>();
        foreach (List<ReplicaDraft> roles in Flips(kept, problem, assembler))
        {
            double prefill = 0, decode = 0;
            foreach (ReplicaDraft draft in roles)
            {
                ReplicaPlan replica = assembler.Replica(draft);
                (double p, double d) = assembler.Evaluator.Shares(replica, assembler.Evaluator.Evaluate(replica));
                prefill += p;
                decode += d;
            }

            var drafts = new List<ReplicaDraft>(roles);
            if (free.Length > 0)
            {
                bool mixed = problem.Options.AllowMixed && !roles.Exists(draft => draft.Role == ReplicaRole.Mixed);
                if (!parts.TryGetValue(mixed, out (PlanningProblem Part, IGroupRates Rates, PatternTable? Table) known))
                {
                    var part = new PlanningProblem(problem, free, mixed);
                    IGroupRates rates = part.LinksUniform ? new GroupRates(part) : new LinkAwareRates(part, cancellation);
                    parts[mixed] = known = (part, rates, ExactSearch.Table(part, rates, 1 << MaxPart, cancellation));
                }

                if (ExactSearch.TryRun(known.Part, known.Rates, null, cancellation, prefill, decode, 1 << MaxPart, known.Table) is { } outcome)
                {
                    drafts.AddRange(new PlanAssembler(known.Part).Drafts(outcome.Groups, known.Rates));
                }
            }

            DeploymentPlan plan = assembler.Assemble(drafts, "replan");
            if (plan.Predicted.RequestsPerSecond > (best?.Predicted.RequestsPerSecond ?? 0))
            {
                best = plan;
            }
        }

        return best;
    }

    // Role flips move nothing: all of them where replicas are few, else as they are.
    private static IEnumerable<List<ReplicaDraft>> Flips(List<ReplicaDraft> kept, PlanningProblem problem, PlanAssembler assembler)
    {
        if (kept.Count > 6)
        {
            yield return kept;
            yield break;
        }

        var options = new List<ReplicaDraft>[kept.Count];
        for (int i = 0; i < kept.Count; i++)
        {
            options[i] = [kept[i]];
            if (kept[i].Role != ReplicaRole.Prefill && Fits(kept[i] with { Role = ReplicaRole.Prefill, Slots = 0, PrefillShare = 1 }, problem, assembler))
            {
                options[i].Add(kept[i] with { Role = ReplicaRole.Prefill, Slots = 0, PrefillShare = 1 });
            }

            if (BestDecode(kept[i], problem, assembler) is { } decode)
            {
                options[i].Add(decode);
            }
        }

        var choice = new int[kept.Count];
        while (true)
        {
            yield return [.. choice.Select((c, i) => options[i][c])];
            int at = 0;
            while (at < choice.Length && ++choice[at] == options[at].Count)
            {
                choice[at++] = 0;
            }

            if (at == choice.Length)
            {
                yield break;
            }
        }
    }

    private static ReplicaDraft? BestDecode(ReplicaDraft draft, PlanningProblem problem, PlanAssembler assembler)
    {
        ReplicaDraft? best = null;
        double rate = 0;
        for (int slots = 1; slots <= problem.Options.MaxDecodeSlots; slots += slots < 16 ? 1 : 4)
        {
            ReplicaDraft candidate = draft with { Role = ReplicaRole.Decode, Slots = slots, PrefillShare = 0 };
            if (!Fits(candidate, problem, assembler))
            {
                continue;
            }

            double its = assembler.Evaluator.Evaluate(assembler.Replica(candidate)).DecodeRequestsPerSecond;
            if (its > rate)
            {
                (best, rate) = (candidate, its);
            }
        }

        return best;
    }

    // Devices of one class are interchangeable, and so is the order of stages on equal links: each stage goes to the device of its class that holds most of it already.
    private static DeploymentPlan MoveLess(DeploymentPlan plan, DeploymentPlan current, PlanningProblem problem, PlanAssembler assembler)
    {
        if (!problem.LinksUniform)
        {
            return plan;
        }

        List<ReplicaDraft> drafts = StageAssignment.Assign(plan, current, problem);
        DeploymentPlan moved = assembler.Assemble(drafts, plan.Planner);
        return moved.Predicted.RequestsPerSecond >= plan.Predicted.RequestsPerSecond * (1 - 1e-9)
            && PlanDifference.MovedBytes(current, moved, problem.Model) < PlanDifference.MovedBytes(current, plan, problem.Model) ? moved : plan;
    }
}
