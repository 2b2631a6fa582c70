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
internal sealed class Systems(Cluster cluster, ModelCost model, Workload workload, IReadOnlyList<SimulatedRequest> requests, int shortlist = 120)
{
    public const string E2llm = "E2LLM as published", EdgeShard = "one pipeline (EdgeShard)", Colocated = "replicas without roles",
        B0 = "B0 Splitwise, whole-model devices", B1 = "B1 Splitwise, greedy", B2 = "B2 Splitwise, every lever", Ours = "ours";

    private const int PaperSlots = 16;

    private readonly PlanSpace _full = new(cluster, model, workload, new PlannerOptions());
    private readonly PlanSpace _published = new(cluster, model, workload, new PlannerOptions { MaxDecodeSlots = PaperSlots, AllowMixed = false });

    // All levers on: chunked prefill, caches pushed while prompts are computed, routing by the delay of all.
    private static readonly SimulationOptions AllLevers = new() { Router = RouterKind.LeastDelay, BootstrapCount = 0, Oversized = OversizedRequests.Drop };

    private static readonly SimulationOptions[] Policies = [AllLevers, AllLevers with { Router = RouterKind.MixedPool }, AllLevers with { Router = RouterKind.JsqWait }];
    private SystemUnderTest? _strong;

    private double Rate => workload.Arrivals.RequestsPerSecond;

    /// <summary>All systems; one that has no plan on this cluster is left out.</summary>
    public List<SystemUnderTest> All() => [.. new[] { PublishedE2llm(), OnePipeline(), WithoutRoles(), WholeModelSplitwise(), GreedySplitwise(), StrongSplitwise(), Own() }.OfType<SystemUnderTest>()];

    /// <summary>
    /// E2LLM: pure roles, at most 16 sequences, every device used, the smallest bottleneck (found exactly, at least as good as its genetic search), join the shortest
    /// estimated wait, caches moved when the prompt is done.
    /// </summary>
    public SystemUnderTest? PublishedE2llm() => FromCapacity(
        E2llm, _published, new PlanRule { Mixed = false, UseAllDevices = true }, AllLevers with { Router = RouterKind.JsqWait, KvPush = KvPush.AfterPrefill });

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

        return [.. space.Best(rule, shortlist, Score)
            .Concat(space.Best(rule, shortlist / 4, c => -c.Capacity))
            .Concat(space.Best(rule, shortlist / 4, c => c.ServiceSeconds))
            .Select(c => space.Plan(c, name)).DistinctBy(Describe.Plan)];
    }

    // Plans and policies judged by what requests get: a short sample for all, every request for the best few and for those that came as they are.
    private List<Ranked> Simulated(string name, List<DeploymentPlan> plans, SimulationOptions[] policies, List<SystemUnderTest>? extra = null)
    {
        IReadOnlyList<SimulatedRequest> sample = requests.Count > 200 ? [.. requests.Take(200)] : requests;
        List<SystemUnderTest> systems = [.. plans.SelectMany(plan => policies.Select(p => new SystemUnderTest(name, plan with { Planner = name }, p))),
            .. (extra ?? []).Select(e => e with { Name = name })];
        List<Ranked> ranked = [.. systems.Select(s => Rank(s, sample))];

        // The best few are tried with fewer decode slots (a shorter batch for a longer queue) and smaller and larger chunks beside decoding.
        ranked.AddRange(ranked.OrderBy(r => r.Value).Take(6).ToArray().SelectMany(r => Variants(r.System)).Select(s => Rank(s, sample)));
        IEnumerable<Ranked> first = ranked.Where(r => double.IsFinite(r.Value)).OrderBy(r => r.Value).Take(requests.Count > sample.Count ? 16 : int.MaxValue);
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
