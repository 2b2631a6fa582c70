using E2LLM.Costs;
using E2LLM.Planning;

namespace E2LLM.Tests.Planning;

/// <summary>Planning inputs that are often wrong, extreme or contradictory; seeded.</summary>
internal static class SenselessInstances
{
    public static (Cluster Cluster, ModelCost Model, Workload Workload, PlannerOptions Options) Create(ulong seed)
    {
        var random = new RandomInstances(seed * 7919);
        int count = random.Next(6);
        Cluster cluster = random.Next(3) == 0 ? random.Linked(count, random.Between(0.01, 2)) : random.Cluster(count, random.Between(0.01, 2));
        DeviceProfile[] devices = [.. cluster.Devices];
        for (int i = 0; i < devices.Length && random.Next(4) == 0; i++)
        {
            devices[i] = Spoil(devices[i], random);
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
            Planner = random.Next(6) == 0 ? PlannerKind.Anytime : PlannerKind.Auto,
            Objective = random.Next(8) switch { 0 => PlanObjectives.Waiting, 1 => PlanObjectives.Goodput, 2 => PlanObjectives.Bottleneck, _ => null },
        };
        return (cluster, model, workload, options);
    }

    private static DeviceProfile Spoil(DeviceProfile device, RandomInstances random) => random.Next(9) switch
    {
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
