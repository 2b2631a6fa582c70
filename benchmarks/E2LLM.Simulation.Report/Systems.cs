using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;

namespace E2LLM.Simulation.Report;

/// <summary>A system as it is compared: its plan and its policies. Immutable.</summary>
internal sealed record SystemUnderTest(string Name, DeploymentPlan Plan, SimulationOptions Options);

/// <summary>
/// The systems compared. Each gets the best plan of <see cref="PlanSpace"/> that its own rules allow and its own runtime policies; B2 and ours may use every lever
/// there is and choose their plan by simulating a shortlist on the very requests, so the only difference between these two is Splitwise's rule.
/// </summary>
internal sealed class Systems(Cluster cluster, ModelCost model, Workload workload, IReadOnlyList<SimulatedRequest> requests, int shortlist = 200, int maxStages = 7, int sampleCount = 150)
{
    public const string E2llm = "E2LLM as published", EdgeShard = "one pipeline (EdgeShard)", Colocated = "replicas without roles",
        B0 = "B0 Splitwise, whole-model devices", B1 = "B1 Splitwise, greedy", B2 = "B2 Splitwise, every lever", Ours = "ours";

    private const int PaperSlots = 16;

    private readonly PlanSpace _full = new(cluster, model, workload, new PlannerOptions { MaxStageCount = maxStages });

    // All levers on: chunked prefill, caches pushed while prompts are computed, routing by the delay of all.
    public static readonly SimulationOptions AllLevers = new() { Router = RouterKind.LeastDelay, BootstrapCount = 0, Oversized = OversizedRequests.Drop };

    private static readonly SimulationOptions[] Policies = [AllLevers, AllLevers with { Router = RouterKind.MixedPool }, AllLevers with { Router = RouterKind.JsqWait }];
    private SystemUnderTest? _strong, _e2llm;

    private double Rate => workload.Arrivals.RequestsPerSecond;

    /// <summary>All systems; one that has no plan on this cluster is left out.</summary>
    public List<SystemUnderTest> All() => [.. new[] { PublishedE2llm(), OnePipeline(), WithoutRoles(), WholeModelSplitwise(), GreedySplitwise(), StrongSplitwise(), Own() }.OfType<SystemUnderTest>()];

    /// <summary>
    /// E2LLM as published: its genetic search over orders and sizes with the dynamic program inside (this library's, seed 1), pure roles, at most 16 sequences, every
    /// device used, the smallest bottleneck; join the shortest estimated wait; caches moved when the prompt is done.
    /// </summary>
    public SystemUnderTest? PublishedE2llm() => _e2llm ??= DeploymentPlanner.Plan(
        cluster, model, workload, new PlannerOptions { Planner = PlannerKind.E2llm, MaxDecodeSlots = PaperSlots, AllowMixed = false, Objective = PlanObjectives.Bottleneck })
        is { IsFeasible: true } result ? new SystemUnderTest(E2llm, result.Plan, AllLevers with { Router = RouterKind.JsqWait, KvPush = KvPush.AfterPrefill }) : null;

    /// <summary>One replica of as many devices as serve best; it does both phases.</summary>
    public SystemUnderTest? OnePipeline() => FromCapacity(
        EdgeShard, _full, new PlanRule { OnlyMixed = true, MaxGroups = 1 }, AllLevers with { Router = RouterKind.JsqTokens });

    /// <summary>Every replica does both phases; fewest tokens first, chunked prefill.</summary>
    public SystemUnderTest? WithoutRoles() => FromCapacity(Colocated, _full, new PlanRule { OnlyMixed = true }, AllLevers with { Router = RouterKind.JsqTokens });

    /// <summary>B0: single devices that hold the whole model, Splitwise's rule, pools and batches.</summary>
    public SystemUnderTest? WholeModelSplitwise() => FromCapacity(
        B0, _full, new PlanRule { Mixed = false, MaxStages = 1, FastestPrefill = true },
        AllLevers with { Router = RouterKind.MixedPool, Batching = PrefillBatching.WholePrompts, KvPush = KvPush.Overlapped });

    /// <summary>B1: the fastest devices prefill until prefill is no longer what limits, the rest decode; layers split exactly.</summary>
    public SystemUnderTest? GreedySplitwise()
    {
        DeviceProfile[] order = [.. cluster.Devices.OrderByDescending(d => d.ComputeFlopsPerSecond).ThenByDescending(d => d.MemoryBytesPerSecond)];
        DeploymentPlan? best = null;
        for (int fast = 1; fast < order.Length; fast++)
        {
            PlanSpace prefill = Subset(order[..fast]), decode = Subset(order[fast..]);
            Candidate? p = Largest(prefill, ReplicaRole.Prefill), d = Largest(decode, ReplicaRole.Decode);
            if (p is null || d is null)
            {
                continue;
            }

            best = Merge(prefill.Plan(p, B1), decode.Plan(d, B1));
            if (p.Groups[0].PrefillRate >= d.Groups[0].DecodeRate)
            {
                break;
            }
        }

        return best is null ? null : new SystemUnderTest(
            B1, best, AllLevers with { Router = RouterKind.MixedPool, Batching = PrefillBatching.WholePrompts, KvPush = KvPush.Overlapped });
    }

    /// <summary>B2: everything of ours, mixed pool too, but every prefill replica at least as fast as every decode replica. The best of end-to-end plus waiting.</summary>
    public SystemUnderTest? StrongSplitwise() => _strong ??= Simulated(B2, StrongCandidates(), Policies).OrderBy(r => r.Value).FirstOrDefault()?.System;

    /// <summary>
    /// Ours: the free space, replicas of both phases included, and everything that B2 and E2LLM may choose, their own choices among it. Of those that are
    /// no worse than both in waiting and in end-to-end time the best of their sum; where there is none, the one that gives away the least.
    /// </summary>
    public SystemUnderTest? Own()
    {
        SystemUnderTest?[] others = [PublishedE2llm(), StrongSplitwise()];
        List<SystemUnderTest> extra = [.. others.OfType<SystemUnderTest>().SelectMany(o => Policies.Prepend(o.Options).Select(p => o with { Options = p }))];
        List<Ranked> ranked = Simulated(Ours, Shortlist(_full, new PlanRule(), Ours), Policies, extra);
        Ranked[] known = [.. others.OfType<SystemUnderTest>().Select(o => Rank(o, requests))];
        if (known.Length == 0 || ranked.Count == 0)
        {
            return ranked.OrderBy(r => r.Value).FirstOrDefault()?.System;
        }

        double waiting = Math.Max(known.Min(r => r.Waiting), 1e-3), endToEnd = known.Min(r => r.EndToEnd);
        double Given(Ranked r) => Math.Max(0, Math.Max((r.Waiting / waiting) - 1.0005, (r.EndToEnd / endToEnd) - 1.0005));
        return ranked.OrderBy(Given).ThenBy(r => r.Value).First().System;
    }

    /// <summary>Ours under a narrower rule, for the ablation: the best of end-to-end plus waiting.</summary>
    public SystemUnderTest? OwnUnder(PlanRule rule) => Simulated(Ours, Shortlist(_full, rule, Ours), Policies).OrderBy(r => r.Value).FirstOrDefault()?.System;

    /// <summary>Ours as the planner alone would have it: the largest capacity, not simulated, for the ablation.</summary>
    public SystemUnderTest? OwnByCapacity() => FromCapacity(Ours, _full, new PlanRule(), AllLevers);

    /// <summary>The report of a system on the requests, with intervals.</summary>
    public ServingReport Measure(SystemUnderTest system, IReadOnlyList<SimulatedRequest> trace, ServiceTargets? targets = null) =>
        ClusterSimulator.Run(system.Plan, cluster, model, trace, system.Options with { BootstrapCount = 400 }, targets);

    private List<DeploymentPlan> StrongCandidates() => Shortlist(_full, new PlanRule { Mixed = false, FastestPrefill = true }, B2);

    private static SystemUnderTest? FromCapacity(string name, PlanSpace space, PlanRule rule, SimulationOptions options) =>
        space.Best(rule, 1, c => -c.Capacity) is [var best] ? new SystemUnderTest(name, space.Plan(best, name), options) : null;

    // Static scores find the plans worth simulating: most capacity, fastest alone, and both weighed at this load.
    private List<DeploymentPlan> Shortlist(PlanSpace space, PlanRule rule, string name)
    {
        double Score(Candidate c)
        {
            double load = Math.Min(Rate / c.Capacity, 0.95), excess = Math.Max(0, (1 / c.Capacity) - (1 / Rate)) * requests.Count / 2;
            return (c.ServiceSeconds * (1 + (load * load / (1 - load)))) + excess;
        }

        return [.. space.Best(rule, (shortlist, Score), (shortlist / 4, c => -c.Capacity), (shortlist / 4, c => c.ServiceSeconds))
            .SelectMany(c => c).Select(c => space.Plan(c, name)).DistinctBy(Describe.Plan)];
    }

    // Plans and policies judged by what requests get: a short sample for all, every request for the best few and for those that came as they are.
    private List<Ranked> Simulated(string name, List<DeploymentPlan> plans, SimulationOptions[] policies, List<SystemUnderTest>? extra = null)
    {
        IReadOnlyList<SimulatedRequest> sample = requests.Count > sampleCount ? [.. requests.Take(sampleCount)] : requests;
        List<Ranked> ranked = [.. plans.Select(plan => Rank(new SystemUnderTest(name, plan with { Planner = name }, policies[0]), sample)),
            .. (extra ?? []).Select(e => Rank(e with { Name = name }, sample))];

        // The best plans meet the other policies; the best of all are tried with fewer decode slots (a shorter batch for a longer queue) and other chunks.
        ranked.AddRange(ranked.OrderBy(r => r.Value).Take(10).ToArray().SelectMany(r => policies.Skip(1).Select(p => Rank(r.System with { Options = p }, sample))));
        ranked.AddRange(ranked.OrderBy(r => r.Value).Take(4).ToArray().SelectMany(r => Variants(r.System)).Select(s => Rank(s, sample)));
        IEnumerable<Ranked> first = ranked.Where(r => double.IsFinite(r.Value)).OrderBy(r => r.Value).Take(requests.Count > sample.Count ? 8 : int.MaxValue);
        if (requests.Count > sample.Count)
        {
            first = first.Concat(ranked.Where(r => double.IsFinite(r.Value)).OrderBy(r => r.Waiting).Take(4)).Concat(ranked.Where(r => extra?.Any(e => ReferenceEquals(e.Plan, r.System.Plan)) ?? false))
                .DistinctBy(r => r.System).Select(r => Rank(r.System, requests));
        }

        return [.. first];
    }

    private sealed record Ranked(SystemUnderTest System, double Waiting, double EndToEnd)
    {
        public double Value => Waiting + EndToEnd;
    }

    private Ranked Rank(SystemUnderTest system, IReadOnlyList<SimulatedRequest> trace)
    {
        ServingReport report = ClusterSimulator.Run(system.Plan, cluster, model, trace, system.Options);
        return report.DroppedCount > 0
            ? new Ranked(system, double.PositiveInfinity, double.PositiveInfinity)
            : new Ranked(system, report.WaitingSeconds.Mean, report.EndToEndSeconds.Mean);
    }

    private static IEnumerable<SystemUnderTest> Variants(SystemUnderTest system)
    {
        foreach (int divisor in (int[])[1, 2, 4])
        {
            DeploymentPlan plan = system.Plan with
            {
                Replicas = [.. system.Plan.Replicas.Select(r => r.DecodeSlots > 0 ? r with { DecodeSlots = Math.Max(1, r.DecodeSlots / divisor), DecodeTokensPerSecond = 0 } : r)],
            };
            foreach (int chunk in (int[])[128, 256, 512])
            {
                if (divisor > 1 || chunk != system.Options.MixedChunkTokens)
                {
                    yield return system with { Plan = divisor > 1 ? plan : system.Plan, Options = system.Options with { MixedChunkTokens = chunk } };
                }
            }
        }
    }

    private PlanSpace Subset(DeviceProfile[] devices) => new(
        cluster with { Devices = devices, Pairs = [.. cluster.Pairs.Where(p => devices.Any(d => d.Name == p.From) && devices.Any(d => d.Name == p.To))] },
        model, workload, new PlannerOptions { AllowMixed = false });

    private static Candidate? Largest(PlanSpace space, ReplicaRole role) => space.Groups(role)
        .OrderByDescending(g => g.PrefillRate + g.DecodeRate).Select(g => new Candidate([g], g.PrefillRate + g.DecodeRate, 0)).FirstOrDefault();

    private static DeploymentPlan Merge(DeploymentPlan prefill, DeploymentPlan decode) => prefill with
    {
        Replicas = [.. prefill.Replicas, .. decode.Replicas.Select(r => r with { Name = "r1" })],
    };
}
