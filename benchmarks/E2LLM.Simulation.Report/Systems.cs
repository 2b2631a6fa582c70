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
internal sealed partial class Systems(Cluster cluster, ModelCost model, Workload workload, IReadOnlyList<SimulatedRequest> requests, int shortlist = 200, int maxStages = 7, int sampleCount = 150, int rounds = 30, int seeds = Systems.GeneticSeedCount, int starts = 24)
{
    public const string E2llm = "E2LLM as published", EdgeShard = "one pipeline (EdgeShard)", Colocated = "replicas without roles",
        B0 = "B0 Splitwise, whole-model devices", B1 = "B1 Splitwise, greedy", B2 = "B2 Splitwise, every lever", Ours = "ours";

    /// <summary>Seeds of the genetic search: a published system is its search's luck too.</summary>
    public const int GeneticSeedCount = 10;

    private const int PaperSlots = 16;

    // Seconds that a prompt is put back for each second that it takes: short ones pass long ones that came up to so much earlier.
    private const double LengthWeight = 4;

    private readonly PlanSpace _full = new(cluster, model, workload, new PlannerOptions { MaxStageCount = maxStages });
    private readonly PlanNeighbours _neighbours = new(new PlanningProblem(cluster, model, workload, new PlannerOptions { MaxStageCount = maxStages }));

    // All levers on: chunked prefill, caches pushed while prompts are computed, routing by the delay of all.
    public static readonly SimulationOptions AllLevers = new() { Router = RouterKind.LeastDelay, BootstrapCount = 0, Oversized = OversizedRequests.Drop };

    // What the two systems that simulate their choice may run under; an order by length is a lever only where lengths differ.
    private SimulationOptions[] Policies { get; } =
    [
        AllLevers, AllLevers with { Router = RouterKind.MixedPool }, AllLevers with { Router = RouterKind.JsqWait }, AllLevers with { Router = RouterKind.AddedRate },
        .. requests.All(r => r.PromptTokens == requests[0].PromptTokens) ? (SimulationOptions[])[] : [AllLevers with { LengthWeight = LengthWeight }],
    ];

    private SystemUnderTest? _strong;
    private List<(SystemUnderTest System, double Waiting, double EndToEnd)>? _published;

    private double Rate => workload.Arrivals.RequestsPerSecond;

    /// <summary>All systems; one that has no plan on this cluster is left out.</summary>
    public List<SystemUnderTest> All() => [.. new[] { PublishedE2llm(), OnePipeline(), WithoutRoles(), WholeModelSplitwise(), GreedySplitwise(), StrongSplitwise(), Own() }.OfType<SystemUnderTest>()];

    /// <summary>
    /// E2LLM as published: its genetic search over orders and sizes with the dynamic program inside, pure roles, at most 16 sequences, every device used, the smallest
    /// bottleneck; join the shortest estimated wait; caches moved when the prompt is done. Once for each of <see cref="GeneticSeedCount"/> seeds, the best of end-to-end plus
    /// waiting first.
    /// </summary>
    public IReadOnlyList<(SystemUnderTest System, double Waiting, double EndToEnd)> PublishedSeeds() => _published ??= [.. Enumerable.Range(1, seeds)
        .Select(seed => DeploymentPlanner.Plan(cluster, model, workload, new PlannerOptions
        {
            Planner = PlannerKind.E2llm, MaxDecodeSlots = PaperSlots, AllowMixed = false, Seed = (ulong)seed,
        }))
        .Select(result => result.Plan).OfType<DeploymentPlan>()
        .Select(plan => Rank(new SystemUnderTest(E2llm, plan, AllLevers with { Router = RouterKind.JsqWait, KvPush = KvPush.AfterPrefill }), requests))
        .OrderBy(r => r.Value).Select(r => (r.System, r.Waiting, r.EndToEnd))];

    /// <summary>The median seed of <see cref="PublishedSeeds"/> (the better of the two middle ones).</summary>
    public SystemUnderTest? PublishedE2llm() => PublishedSeeds() is { Count: > 0 } seeds ? seeds[(seeds.Count - 1) / 2].System : null;

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

    /// <summary>Ours as the planner alone would have it: the largest capacity, not simulated, for the ablation.</summary>
    public SystemUnderTest? OwnByCapacity() => FromCapacity(Ours, _full, new PlanRule(), AllLevers);

    /// <summary>B2 by capacity in the same way.</summary>
    public SystemUnderTest? StrongByCapacity() => FromCapacity(B2, _full, Splitwise, AllLevers);

    /// <summary>What B2 and ours may run under.</summary>
    public IReadOnlyList<SimulationOptions> RuntimeLevers => Policies;

    /// <summary>The report of a system on the requests, with intervals.</summary>
    public ServingReport Measure(SystemUnderTest system, IReadOnlyList<SimulatedRequest> trace, ServiceTargets? targets = null) =>
        ClusterSimulator.Run(system.Plan, cluster, model, trace, system.Options with { BootstrapCount = 400 }, targets);

    private static SystemUnderTest? FromCapacity(string name, PlanSpace space, PlanRule rule, SimulationOptions options) =>
        space.Best(rule, 1, c => -c.Capacity) is [var best] ? new SystemUnderTest(name, space.Plan(best, name), options) : null;

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
