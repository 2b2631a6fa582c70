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

    /// <summary>Decode slots c; 0 for prefill. In a table of a range of slots: the most of them.</summary>
    public int Slots { get; private init; }

    /// <summary>As <see cref="Slots"/>; in a table of a range of slots: the fewest of them, whose costs the table has.</summary>
    public int LeastSlots { get; private init; }

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

    public static RoleTable Prefill(PlanningProblem problem) => Create(problem, ReplicaRole.Prefill, 0, 1, 0);

    public static RoleTable Decode(PlanningProblem problem, int slots, int batch) => Create(problem, ReplicaRole.Decode, slots, batch, slots);

    /// <summary>
    /// No decode replica of <paramref name="size"/> stages with <paramref name="lowest"/> to <paramref name="highest"/> slots is faster than this table says: it has the times and the memory of the fewest and the
    /// tokens of the most. Measured times need not grow with the batch, so there the least over the batches is taken.
    /// </summary>
    public static RoleTable DecodeRange(PlanningProblem problem, ReplicaRole role, int lowest, int highest, int size)
    {
        int batch = StageMemory.DecodeBatch(lowest, size), last = StageMemory.DecodeBatch(highest, size);
        RoleTable table = Create(problem, role, lowest, batch, highest);
        for (int k = 0; k < problem.Classes.Length; k++)
        {
            for (int more = batch + 1; more <= last && problem.Classes[k].Profile.Profile is not null; more++)
            {
                table.Layer[k] = Math.Min(table.Layer[k], problem.MeanDecodeLayer(problem.Classes[k].Profile, more));
            }
        }

        if (role == ReplicaRole.Mixed)
        {
            table.PortPerLayer = 0;
        }

        return table;
    }

    /// <summary>The two tables of a mixed replica: both have the memory that both phases need together.</summary>
    public static (RoleTable Prefill, RoleTable Decode) Mixed(PlanningProblem problem, int slots, int batch)
    {
        RoleTable decode = Create(problem, ReplicaRole.Mixed, slots, batch, slots), prefill = Create(problem, ReplicaRole.Prefill, 0, 1, 0);
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

    private static RoleTable Create(PlanningProblem problem, ReplicaRole role, int slots, int batch, int highest)
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
            Slots = highest,
            LeastSlots = slots,
            Batch = batch,
            HopBusy = link.BusySeconds(tokens * model.HiddenStateBytes),
            HopLatency = link.TransferSeconds(tokens * model.HiddenStateBytes),
            ReturnLatency = link.RoundTripSeconds / 2,
            PortPerLayer = link.BusySeconds(work.PromptMean * model.KvBytesPerToken / model.LayerCount),
        };
        bool spills = false;
        for (int k = 0; k < count; k++)
        {
            DeviceRow row = problem.Row(problem.Classes[k], role, slots, batch);
            table.Layer[k] = row.Layer;
            table.Spill[k] = row.Spill;
            for (int variant = 0; variant < 4; variant++)
            {
                table.Fixed[variant][k] = row.Fixed[variant];
                table.Resident[variant][k] = row.Resident[variant];
                table.Capacity[variant][k] = row.Capacity[variant];
            }

            spills |= row.Capacity[Plain] > row.Resident[Plain];
        }

        table.Order = Segments(table, count, spills);
        return table;
    }

    private static int[] Segments(RoleTable table, int count, bool spills)
    {
        int[] order = [.. Enumerable.Range(0, spills ? 2 * count : count)];
        double[] slopes = Array.ConvertAll(order, segment => segment < count ? table.Layer[segment] : table.Layer[segment - count] + table.Spill[segment - count]);
        Array.Sort(slopes, order);
        return order;
    }
}
