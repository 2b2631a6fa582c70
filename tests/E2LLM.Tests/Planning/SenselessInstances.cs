using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;

namespace E2LLM.Tests.Planning;

/// <summary>Planning inputs that are often wrong, extreme or contradictory; seeded.</summary>
internal static class SenselessInstances
{
    public static (Cluster Cluster, ModelCost Model, Workload Workload, PlannerOptions Options) Create(ulong seed)
    {
        var random = new RandomInstances(seed * 7919);
        int count = random.Next(2000) == 0 ? 30 + random.Next(40) : random.Next(random.Next(20) == 0 ? 9 : 6);
        Cluster cluster = random.Next(3) == 0 ? random.Linked(count, random.Between(0.01, 2)) : random.Cluster(count, random.Between(0.01, 2));
        DeviceProfile[] devices = [.. cluster.Devices];
        for (int i = 0; i < devices.Length && random.Next(4) == 0; i++)
        {
            devices[i] = Spoil(devices[i], random);
        }

        for (int i = 1; i < devices.Length && random.Next(6) == 0; i++)
        {
            devices[i] = devices[i - 1] with { Name = devices[i].Name };
        }

        cluster = cluster with { Devices = devices };
        if (random.Next(6) == 0)
        {
            cluster = cluster with { DefaultLink = random.Next(2) == 0 ? null : new NetworkLink(Odd(random), Odd(random)) };
        }

        if (count > 1 && random.Next(5) == 0)
        {
            cluster = cluster with { Ports = [new PortLimit("d0", random.Between(1e3, 1e8))] };
        }

        ModelCost model = random.Model(1 + random.Next(10));
        if (random.Next(5) == 0)
        {
            // Layers that differ, a few of them huge.
            model = model with { Layers = [.. model.Layers.Select((layer, i) => layer with { WeightBytes = layer.WeightBytes / (1 + (i % 3)), Window = i % 2 * 128 })] };
        }

        if (random.Next(12) == 0)
        {
            model = Spoil(model, random);
        }

        Workload workload = random.Workload();
        if (random.Next(4) == 0)
        {
            workload = workload with { Targets = new ServiceTargets { MinimumDecodeTokensPerSecond = random.Between(0.1, 1000), TtftSeconds = random.Between(0.01, 100) } };
        }

        if (random.Next(4) == 0)
        {
            workload = workload with { PromptTokens = LengthDistribution.Empirical([1, 8191, (int)random.Between(1, 9000)]), OutputTokens = LengthDistribution.LogNormal(random.Between(100, 900), 1000) };
        }

        var options = new PlannerOptions
        {
            AllowMixed = random.Next(3) != 0,
            MaxDecodeSlots = 1 + random.Next(20),
            MaxStageCount = 1 + random.Next(6),
            UseHostMemory = random.Next(4) == 0,
            Planner = random.Next(12) switch { 0 or 1 => PlannerKind.Anytime, 2 => PlannerKind.E2llm, 3 => PlannerKind.Exact, _ => PlannerKind.Auto },
            GeneticPopulation = 6,
            GeneticGenerations = 4,
            Seed = (ulong)random.Next(100),
            MinimumReplicasPerPhase = random.Next(10) == 0 ? 2 : 1,
            SpeedErrorFraction = random.Next(400) == 0 ? 0.3 : 0,
            Objective = random.Next(8) switch { 0 => PlanObjectives.Waiting, 1 => PlanObjectives.Goodput, 2 => PlanObjectives.Bottleneck, _ => null },
        };
        return (cluster, model, workload, random.Next(40) == 0 ? Spoil(options, random) : options);
    }

    /// <summary>The same cluster with its devices in another order.</summary>
    public static Cluster Permuted(Cluster cluster, ulong seed)
    {
        var random = new RandomInstances(seed);
        return cluster with { Devices = [.. cluster.Devices.OrderBy(_ => random.NextDouble())] };
    }

    /// <summary>What a plan is apart from names: roles, slots, figures of its replicas, and what their devices cost.</summary>
    public static string WithoutNames(DeploymentPlan plan, Cluster cluster) => FormattableString.Invariant($"{plan.Objective.Value:R} {plan.Objective.Bound:R}\n") + string.Join('\n', plan.Replicas.Select(
        replica => FormattableString.Invariant($"{replica.Role} {replica.DecodeSlots} {replica.PrefillShare:R} {replica.PrefillTokensPerSecond:R} {replica.DecodeTokensPerSecond:R}: ")
            + string.Join(", ", replica.Stages.Select(stage => $"{cluster.Devices[cluster.IndexOf(stage.Device)] with { Name = "" }} {stage.Layers} {stage.MemoryBytes}"))).Order(StringComparer.Ordinal));

    private static ModelCost Spoil(ModelCost model, RandomInstances random) => random.Next(9) switch
    {
        0 => model with { Layers = [] },
        1 => model with { Layers = [.. model.Layers.Select(layer => layer with { WeightBytes = random.Next(2) == 0 ? -1 : long.MaxValue })] },
        2 => model with { Layers = [.. model.Layers.Select(layer => layer with { KvBytesPerToken = random.Next(2) == 0 ? -5 : 1L << 50 })] },
        3 => model with { Layers = [.. model.Layers.Select(layer => layer with { FlopsPerToken = Odd(random) })] },
        4 => model with { Layers = [.. model.Layers.Select(layer => layer with { WeightBytes = 0, KvBytesPerToken = 0, FlopsPerToken = 0, AttentionFlopsPerPair = 0 })] },
        5 => model with { VocabularySize = random.Next(2) - 1, HeadBytes = random.Next(2) == 0 ? -1 : long.MaxValue },
        6 => model with { ContextLength = random.Next(3) - 1 },
        7 => model with { HiddenSize = random.Next(2) == 0 ? 0 : int.MaxValue },
        _ => model with { ExpertCount = 4, ExpertUsedCount = random.Next(8) - 1 },
    };

    private static PlannerOptions Spoil(PlannerOptions options, RandomInstances random) => random.Next(7) switch
    {
        0 => options with { MaxDecodeSlots = random.Next(2) == 0 ? 0 : 5000 },
        1 => options with { PrefillChunkTokens = -random.Next(2) },
        2 => options with { MixedSlowdown = Odd(random) },
        3 => options with { SlotContextQuantile = Odd(random) },
        4 => options with { SpeedErrorFraction = Odd(random) },
        5 => options with { MaxStageCount = 0 },
        _ => options with { TimeProvider = null! },
    };

    private static DeviceProfile Spoil(DeviceProfile device, RandomInstances random) => random.Next(10) switch
    {
        9 => device with
        {
            Profile = new MeasuredProfile
            {
                Prefill = [.. Enumerable.Range(0, random.Next(4)).Select(_ => new PrefillPoint(random.Next(600), random.Next(3000) - 10, random.Next(8) == 0 ? Odd(random) : random.Between(1e-5, 1e-1)))],
                Decode = [.. Enumerable.Range(0, random.Next(5)).Select(_ => new DecodePoint(random.Next(40), random.Next(3000), random.Next(8) == 0 ? Odd(random) : random.Between(1e-5, 1e-1)))],
                HeadSeconds = random.Next(8) == 0 ? Odd(random) : 1e-3,
                ErrorFraction = random.Next(8) == 0 ? Odd(random) : 0.05,
            },
        },
        0 => device with { ComputeFlopsPerSecond = Odd(random) },
        1 => device with { MemoryBytesPerSecond = Odd(random) },
        2 => device with { MemoryBytes = random.Next(2) == 0 ? 0 : long.MaxValue },
        3 => device with { MemoryBytes = -1 },
        4 => device with { Name = "d0" },
        5 => device with { StageOverheadSeconds = Odd(random) },
        6 => device with { HostMemoryBytes = 20_000_000_000, HostBytesPerSecond = random.Next(4) == 0 ? 0 : 1e10 },
        7 => device with { ComputeFlopsPerSecond = 1e-300 },
        _ => device with { MemoryBytesPerSecond = 1e300, StageOverheadSeconds = 0 },
    };

    private static double Odd(RandomInstances random) => random.Next(6) switch
    {
        0 => 0,
        1 => -1,
        2 => double.NaN,
        3 => double.PositiveInfinity,
        4 => double.Epsilon,
        _ => double.MaxValue,
    };
}
