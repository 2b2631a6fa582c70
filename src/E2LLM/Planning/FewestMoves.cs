using System.Numerics;
using E2LLM.Deployment;
using E2LLM.Planning.Clustering;
using E2LLM.Planning.Partitioning;

namespace E2LLM.Planning;

/// <summary>
/// A plan of a wanted capacity that loads few weights, for small clusters on equal links with equal layers. For every group of devices, both phases and a few speeds below the group's best, the order and split
/// with the fewest bytes is found by dynamic programming over (devices used, layers placed), stages limited to what the speed allows; then the partition with the fewest bytes among all that reach the
/// capacity. Not thread-safe.
/// </summary>
internal sealed class FewestMoves
{
    /// <summary>Most devices for which all groups are looked at.</summary>
    public const int MaxDevices = 7;

    private const int MaxLayers = 128;

    // Speeds below a group's best at which few bytes are looked for.
    private static readonly double[] Slowness = [1, 0.97, 0.9, 0.8, 0.6];

    private readonly PlanningProblem problem;
    private readonly PlanAssembler assembler;
    private readonly GroupRates rates;
    private readonly StagePlan?[] held;
    private readonly long[][] missing;
    private readonly int[] classOf;
    private readonly int count;
    private readonly int layers;
    private readonly List<Choice>[] choices;
    private readonly List<Choice> taken = [];
    private List<Choice>? best;
    private long bestBytes = long.MaxValue;

    private FewestMoves(PlanningProblem problem, PlanAssembler assembler, DeploymentPlan current)
    {
        this.problem = problem;
        this.assembler = assembler;
        rates = new GroupRates(problem);
        (count, layers) = (problem.Devices.Length, problem.LayerCount);
        classOf = [.. problem.Devices.Select(device => Array.FindIndex(problem.Classes, item => item.Devices.Contains(device)))];
        held = [.. problem.Devices.Select(device => current.Replicas.SelectMany(replica => replica.Stages).FirstOrDefault(stage => stage.Device == problem.Cluster.Devices[device].Name))];
        missing = new long[count][];
        for (int d = 0; d < count; d++)
        {
            missing[d] = new long[layers + 1];
            for (int i = 0; i < layers; i++)
            {
                missing[d][i + 1] = missing[d][i] + (held[d] is { } stage && stage.Layers.Contains(i) ? 0 : problem.Model.Layers[i].WeightBytes);
            }
        }

        choices = new List<Choice>[1 << count];
    }

    private sealed record Choice(ReplicaDraft Draft, double Prefill, double Decode, long Bytes);

    /// <summary>The plan, or null where the cluster is too large for this or none was found.</summary>
    public static DeploymentPlan? Find(PlanningProblem problem, PlanAssembler assembler, DeploymentPlan current, double capacity, CancellationToken cancellation)
    {
        if (!problem.LinksUniform || !problem.LayersUniform || problem.Devices.Length > MaxDevices || problem.LayerCount > MaxLayers || problem.Options.MinimumReplicasPerPhase > 1)
        {
            return null;
        }

        var search = new FewestMoves(problem, assembler, current);
        for (int mask = 1; mask < search.choices.Length; mask++)
        {
            cancellation.ThrowIfCancellationRequested();
            search.choices[mask] = [];
            search.Fill(mask);
            search.choices[mask].Sort((x, y) => x.Bytes.CompareTo(y.Bytes));
        }

        search.Partition(search.choices.Length - 1, 0, 0, 0, capacity);
        return search.best is null ? null : assembler.Assemble([.. search.best.Select(choice => choice.Draft)], "replan");
    }

    private void Fill(int mask)
    {
        var counts = new int[problem.Classes.Length];
        for (int d = 0; d < count; d++)
        {
            counts[classOf[d]] += mask >> d & 1;
        }

        int size = BitOperations.PopCount((uint)mask);
        if (size > problem.MaxStageCount)
        {
            return;
        }

        RoleChoice prefill = rates.Prefill(mask, counts, 0), decode = rates.Decode(mask, counts, 0);
        foreach (double slowness in Slowness)
        {
            if (prefill.Rate > 0)
            {
                Add(mask, rates.PrefillTable, ReplicaRole.Prefill, 0, 1 / (prefill.Rate * slowness * (1 - 1e-9)));
            }

            if (decode.Rate > 0)
            {
                double cycle = decode.Slots / (decode.Rate * slowness * problem.Work.OutputMean * (1 - 1e-9));
                Add(mask, rates.DecodeTable(decode.Slots, size), ReplicaRole.Decode, decode.Slots, cycle / Math.Min(size, decode.Slots));
            }
        }
    }

    private void Add(int mask, RoleTable table, ReplicaRole role, int slots, double limit)
    {
        if (Split(mask, table, limit) is not { } split)
        {
            return;
        }

        var draft = new ReplicaDraft(role, slots, role == ReplicaRole.Prefill ? 1 : 0, split.Devices, split.Layers);
        ReplicaPlan replica = assembler.Replica(draft);
        for (int j = 0; j < replica.Stages.Count; j++)
        {
            if (replica.Stages[j].MemoryBytes > problem.Cluster.Devices[draft.Devices[j]].MemoryBytes + (problem.Options.UseHostMemory ? problem.Cluster.Devices[draft.Devices[j]].HostMemoryBytes : 0))
            {
                return;
            }
        }

        ReplicaRates found = assembler.Evaluator.Evaluate(replica);
        var item = new Choice(draft, found.PrefillRequestsPerSecond, found.DecodeRequestsPerSecond, split.Bytes);
        if (found.CycleSeconds <= problem.Work.MaxCycleSeconds
            && !choices[mask].Exists(there => there.Prefill >= item.Prefill && there.Decode >= item.Decode && there.Bytes <= item.Bytes))
        {
            choices[mask].Add(item);
        }
    }

    // Fewest bytes of a chain of all devices of the mask, every stage within the limit.
    private (int[] Devices, int[] Layers, long Bytes)? Split(int mask, RoleTable table, double limit)
    {
        int[] members = [.. Enumerable.Range(0, count).Where(d => (mask >> d & 1) == 1)];
        int k = members.Length, all = (1 << k) - 1, width = layers + 1;
        var bytes = new long[(all + 1) * width];
        var from = new (int Device, int Layers)[(all + 1) * width];
        Array.Fill(bytes, long.MaxValue);
        bytes[0] = 0;
        for (int used = 0; used < all; used++)
        {
            for (int m = 0; m < k; m++)
            {
                int next = used | 1 << m;
                if (next == used)
                {
                    continue;
                }

                int d = members[m], variant = (used == 0 ? RoleTable.Embedding : 0) | (next == all ? RoleTable.Head : 0);
                int most = Math.Min(layers, table.Capacity[variant][classOf[d]]);
                while (most > 0 && Seconds(table, classOf[d], variant, most) > limit)
                {
                    most--;
                }

                long extra = Extra(d, variant);
                for (int l = 0; l < layers; l++)
                {
                    long before = bytes[(used * width) + l];
                    for (int n = next == all ? layers - l : 1; before < long.MaxValue && n <= Math.Min(most, layers - l); n++)
                    {
                        long sum = before + missing[d][l + n] - missing[d][l] + extra;
                        int to = (next * width) + l + n;
                        if (sum < bytes[to])
                        {
                            (bytes[to], from[to]) = (sum, (m, n));
                        }
                    }
                }
            }
        }

        long total = bytes[(all * width) + layers];
        if (total == long.MaxValue)
        {
            return null;
        }

        var devices = new int[k];
        var split = new int[k];
        for (int j = k - 1, used = all, l = layers; j >= 0; j--)
        {
            (int m, int n) = from[(used * width) + l];
            (devices[j], split[j]) = (problem.Devices[members[m]], n);
            (used, l) = (used ^ 1 << m, l - n);
        }

        return (devices, split, total);
    }

    private static double Seconds(RoleTable table, int k, int variant, int n)
    {
        double seconds = table.Fixed[variant][k] + (n * table.Layer[k]) + (Math.Max(0, n - table.Resident[variant][k]) * table.Spill[k]);
        double port = table.IsPrefill ? (n * table.PortPerLayer) + ((variant & RoleTable.Head) == 0 ? table.HopBusy : 0) : 0;
        return Math.Max(seconds, port);
    }

    private long Extra(int d, int variant)
    {
        var none = new LayerRange(0, 0);
        return PlanDifference.MovedBytes(
            none, held[d]?.Embedding ?? false, held[d]?.Head ?? false, none, (variant & RoleTable.Embedding) != 0, (variant & RoleTable.Head) != 0, problem.Model);
    }

    private void Partition(int left, double prefill, double decode, long bytes, double capacity)
    {
        if (bytes >= bestBytes)
        {
            return;
        }

        if (Math.Min(prefill, decode) >= capacity)
        {
            (best, bestBytes) = ([.. taken], bytes);
            return;
        }

        if (left == 0)
        {
            return;
        }

        int lowest = left & -left, rest = left ^ lowest;
        for (int part = rest; ; part = (part - 1) & rest)
        {
            foreach (Choice choice in choices[part | lowest])
            {
                if (bytes + choice.Bytes >= bestBytes)
                {
                    break;
                }

                taken.Add(choice);
                Partition(left ^ (part | lowest), prefill + choice.Prefill, decode + choice.Decode, bytes + choice.Bytes, capacity);
                taken.RemoveAt(taken.Count - 1);
            }

            if (part == 0)
            {
                break;
            }
        }

        Partition(rest, prefill, decode, bytes, capacity);
    }
}
