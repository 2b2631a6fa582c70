using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Planning.Partitioning;

/// <summary>What stages of one device cost for one role, one number of slots and one batch: a column of a <see cref="RoleTable"/>. Immutable.</summary>
internal sealed class DeviceRow
{
    /// <summary>Seconds of one layer: per prompt for prefill, per step for decode.</summary>
    public double Layer { get; private init; }

    /// <summary>Seconds that a layer in host memory adds.</summary>
    public double Spill { get; private init; }

    /// <summary>Seconds besides layers, by variant.</summary>
    public double[] Fixed { get; } = new double[4];

    /// <summary>Layers that fit the device's memory, by variant; -1: not even embedding and head do.</summary>
    public int[] Resident { get; } = new int[4];

    /// <summary>Layers that fit device and host memory together, by variant.</summary>
    public int[] Capacity { get; } = new int[4];

    public static DeviceRow Create(PlanningProblem problem, DeviceProfile device, ReplicaRole role, int slots, int batch)
    {
        bool prefill = role == ReplicaRole.Prefill;
        double spillPerPass = StageCost.SpillSeconds(device, problem.LargestLayerBytes);
        var row = new DeviceRow
        {
            Layer = prefill ? problem.MeanPrefillLayer(device) : problem.MeanDecodeLayer(device, batch),
            Spill = device.HostMemoryBytes > 0 ? spillPerPass * (prefill ? problem.Times.ChunksPerPrompt : 1) : 0,
        };
        for (int variant = 0; variant < 4; variant++)
        {
            bool embedding = (variant & RoleTable.Embedding) != 0, head = (variant & RoleTable.Head) != 0;
            row.Fixed[variant] = prefill
                ? problem.Times.PrefillFixed(device, embedding, head)
                : problem.Times.DecodeFixed(device, embedding, head, batch);
            (row.Resident[variant], row.Capacity[variant]) = Fit(problem, device, role, embedding, head, slots, batch);
        }

        return row;
    }

    // Memory is weights and cache per layer plus a fixed part; only weights may be spilled.
    private static (int Resident, int Capacity) Fit(
        PlanningProblem problem, DeviceProfile device, ReplicaRole role, bool embedding, bool head, int slots, int batch)
    {
        var none = new LayerRange(0, 0);
        long fixedBytes = problem.Times.Memory(role, none, embedding, head, slots, batch);
        if (fixedBytes > device.MemoryBytes)
        {
            return (-1, -1);
        }

        long kvTokens = role switch
        {
            ReplicaRole.Prefill => problem.Work.PrefillKvTokens,
            ReplicaRole.Decode => problem.Work.DecodeKvTokens(slots),
            _ => problem.Work.MixedKvTokens(slots),
        };
        Int128 free = device.MemoryBytes - fixedBytes, kv = (Int128)problem.LargestKvBytes * kvTokens, weights = problem.LargestLayerBytes;
        Int128 perLayer = Int128.Max(1, weights + kv);
        int resident = (int)Int128.Min(problem.LayerCount, free / perLayer);
        if (!problem.Options.UseHostMemory || device.HostMemoryBytes <= 0 || weights <= 0)
        {
            return (resident, resident);
        }

        // n layers in all, s of them spilled: n (weights + kv) - s weights <= free, s weights <= host, s <= n.
        Int128 spillable = device.HostMemoryBytes / weights;
        int most = resident;
        for (int n = resident + 1; n <= problem.LayerCount; n++)
        {
            Int128 spilled = ((n * perLayer) - free + weights - 1) / weights;
            if (spilled > Int128.Min(spillable, n - resident))
            {
                break;
            }

            most = n;
        }

        return (resident, most);
    }
}
