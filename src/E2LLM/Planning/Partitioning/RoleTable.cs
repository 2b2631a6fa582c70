using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Planning.Partitioning;

/// <summary>
/// Affine stage costs of every device class for one role (and, decoding, one number of slots and one batch). Immutable; thread-safe.
/// Seconds are per request for prefill and per step for decode.
/// </summary>
internal sealed class RoleTable
{
    /// <summary>Whether a stage holds the embedding (bit 0) and the head (bit 1).</summary>
    public const int Plain = 0, Embedding = 1, Head = 2, Both = 3;

    private RoleTable(int classes)
    {
        Layer = new double[classes];
        Spill = new double[classes];
        for (int variant = 0; variant < 4; variant++)
        {
            Fixed[variant] = new double[classes];
            Resident[variant] = new int[classes];
            Capacity[variant] = new int[classes];
        }
    }

    public bool IsPrefill { get; private init; }

    /// <summary>Decode slots c; 0 for prefill.</summary>
    public int Slots { get; private init; }

    /// <summary>Sequences of one micro-batch.</summary>
    public int Batch { get; private init; }

    /// <summary>Seconds of one layer, by class.</summary>
    public double[] Layer { get; }

    /// <summary>Seconds that a layer in host memory adds, by class.</summary>
    public double[] Spill { get; }

    /// <summary>Seconds of a stage besides layers, by variant and class.</summary>
    public double[][] Fixed { get; } = new double[4][];

    /// <summary>Layers that fit the device's memory, by variant and class; -1: not even embedding and head do.</summary>
    public int[][] Resident { get; } = new int[4][];

    /// <summary>Layers that fit device and host memory together.</summary>
    public int[][] Capacity { get; } = new int[4][];

    /// <summary>Seconds that one hop keeps a link busy with hidden states.</summary>
    public double HopBusy { get; private set; }

    /// <summary>Seconds until one hop's hidden states have arrived.</summary>
    public double HopLatency { get; private set; }

    /// <summary>Seconds until the next token's id is back at the first stage.</summary>
    public double ReturnLatency { get; private set; }

    /// <summary>Seconds of port time that one layer's KV cache of one request costs (sent by prefill, received by decode).</summary>
    public double PortPerLayer { get; private set; }

    /// <summary>Classes in ascending order of marginal seconds; <c>class + count</c> stands for that class's spilled layers.</summary>
    public int[] Order { get; private set; } = [];

    public static RoleTable Prefill(PlanningProblem problem) => Create(problem, ReplicaRole.Prefill, 0, 1);

    public static RoleTable Decode(PlanningProblem problem, int slots, int batch) => Create(problem, ReplicaRole.Decode, slots, batch);

    /// <summary>The two tables of a mixed replica: both have the memory that both phases need together.</summary>
    public static (RoleTable Prefill, RoleTable Decode) Mixed(PlanningProblem problem, int slots, int batch)
    {
        RoleTable decode = Create(problem, ReplicaRole.Mixed, slots, batch), prefill = Create(problem, ReplicaRole.Prefill, 0, 1);
        for (int variant = 0; variant < 4; variant++)
        {
            decode.Resident[variant].CopyTo(prefill.Resident[variant], 0);
            decode.Capacity[variant].CopyTo(prefill.Capacity[variant], 0);
        }

        // Its prompts stay where they are: no KV cache passes a port.
        prefill.PortPerLayer = 0;
        decode.PortPerLayer = 0;
        return (prefill, decode);
    }

    private static RoleTable Create(PlanningProblem problem, ReplicaRole role, int slots, int batch)
    {
        int count = problem.Classes.Length;
        WorkloadSummary work = problem.Work;
        ModelCost model = problem.Model;
        bool prefill = role == ReplicaRole.Prefill;
        double tokens = prefill ? work.PromptMean : batch;
        NetworkLink link = problem.Link;
        var table = new RoleTable(count)
        {
            IsPrefill = prefill,
            Slots = slots,
            Batch = batch,
            HopBusy = link.BusySeconds(tokens * model.HiddenStateBytes),
            HopLatency = link.TransferSeconds(tokens * model.HiddenStateBytes),
            ReturnLatency = link.RoundTripSeconds / 2,
            PortPerLayer = link.BusySeconds(work.PromptMean * model.KvBytesPerToken / model.LayerCount),
        };
        for (int k = 0; k < count; k++)
        {
            DeviceProfile device = problem.Classes[k].Profile;
            table.Layer[k] = prefill ? problem.MeanPrefillLayer(device) : problem.MeanDecodeLayer(device, batch);
            double spillPerPass = StageCost.SpillSeconds(device, problem.LargestLayerBytes);
            table.Spill[k] = device.HostMemoryBytes > 0 ? spillPerPass * (prefill ? problem.Times.ChunksPerPrompt : 1) : 0;
            for (int variant = 0; variant < 4; variant++)
            {
                bool embedding = (variant & Embedding) != 0, head = (variant & Head) != 0;
                table.Fixed[variant][k] = prefill
                    ? problem.Times.PrefillFixed(device, embedding, head)
                    : problem.Times.DecodeFixed(device, embedding, head, batch);
                (table.Resident[variant][k], table.Capacity[variant][k]) = Fit(problem, device, role, embedding, head, slots, batch);
            }
        }

        table.Order = Segments(problem, table, count);
        return table;
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
        decimal free = device.MemoryBytes - fixedBytes, kv = (decimal)problem.LargestKvBytes * kvTokens, weights = problem.LargestLayerBytes;
        decimal perLayer = Math.Max(1, weights + kv);
        int resident = (int)Math.Min(problem.LayerCount, Math.Floor(free / perLayer));
        if (!problem.Options.UseHostMemory || device.HostMemoryBytes <= 0 || weights <= 0)
        {
            return (resident, resident);
        }

        // n layers in all, s of them spilled: n (weights + kv) - s weights <= free, s weights <= host, s <= n.
        decimal spillable = Math.Floor(device.HostMemoryBytes / weights);
        int most = resident;
        for (int n = resident + 1; n <= problem.LayerCount; n++)
        {
            decimal spilled = Math.Ceiling(((n * perLayer) - free) / weights);
            if (spilled > Math.Min(spillable, n - resident))
            {
                break;
            }

            most = n;
        }

        return (resident, most);
    }

    private static int[] Segments(PlanningProblem problem, RoleTable table, int count)
    {
        bool spills = false;
        for (int k = 0; k < count; k++)
        {
            spills |= table.Capacity[Plain][k] > table.Resident[Plain][k];
        }

        int[] order = [.. Enumerable.Range(0, spills ? 2 * count : count)];
        double[] slopes = Array.ConvertAll(order, segment => segment < count ? table.Layer[segment] : table.Layer[segment - count] + table.Spill[segment - count]);
        Array.Sort(slopes, order);
        _ = problem;
        return order;
    }
}
