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

    private readonly PlanningProblem _problem;
    private readonly PlanAssembler _assembler;
    private readonly GroupRates _rates;
    private readonly StagePlan?[] _held;
    private readonly long[][] _missing;
    private readonly int[] _classOf;
    private readonly int _count;
    private readonly int _layers;
    private readonly List<Choice>[] _choices;
    private readonly List<Choice> _taken = [];
    private List<Choice>? _best;
    private long _bestBytes = long.MaxValue;

    private FewestMoves(PlanningProblem problem, PlanAssembler assembler, DeploymentPlan current)
    {
        _problem = problem;
        _assembler = assembler;
        _rates = new GroupRates(problem);
        (_count, _layers) = (problem.Devices.Length, problem.LayerCount);
        _classOf = [.. problem.Devices.Select(device => Array.FindIndex(problem.Classes, item => item.Devices.Contains(device)))];
        _held = [.. problem.Devices.Select(device => current.Replicas.SelectMany(replica => replica.Stages).FirstOrDefault(stage => stage.Device == problem.Cluster.Devices[device].Name))];
        _missing = new long[_count][];
        for (int d = 0; d < _count; d++)
        {
            _missing[d] = new long[_layers + 1];
            for (int i = 0; i < _layers; i++)
            {
                _missing[d][i + 1] = _missing[d][i] + (_held[d] is { } stage && stage.Layers.Contains(i) ? 0 : problem.Model.Layers[i].WeightBytes);
            }
        }

        _choices = new List<Choice>[1 << _count];
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
        for (int mask = 1; mask < search._choices.Length; mask++)
        {
            cancellation.ThrowIfCancellationRequested();
            search._choices[mask] = [];
            search.Fill(mask);
            search._choices[mask].Sort((x, y) => x.Bytes.CompareTo(y.Bytes));
        }

        search.Partition(search._choices.Length - 1, 0, 0, 0, capacity);
        return search._best is null ? null : assembler.Assemble([.. search._best.Select(choice => choice.Draft)], "replan");
    }

    private void Fill(int mask)
    {
        var counts = new int[_problem.Classes.Length];
        for (int d = 0; d < _count; d++)
        {
            counts[_classOf[d]] += mask >> d & 1;
        }

        int size = BitOperations.PopCount((uint)mask);
        if (size > _problem.MaxStageCount)
        {
            return;
        }

        RoleChoice prefill = _rates.Prefill(mask, counts, 0), decode = _rates.Decode(mask, counts, 0);
        foreach (double slowness in Slowness)
        {
            if (prefill.Rate > 0)
            {
                Add(mask, _rates.PrefillTable, ReplicaRole.Prefill, 0, 1 / (prefill.Rate * slowness * (1 - 1e-9)));
            }

            if (decode.Rate > 0)
            {
                double cycle = decode.Slots / (decode.Rate * slowness * _problem.Work.OutputMean * (1 - 1e-9));
                Add(mask, _rates.DecodeTable(decode.Slots, size), ReplicaRole.Decode, decode.Slots, cycle / Math.Min(size, decode.Slots));
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
        ReplicaPlan replica = _assembler.Replica(draft);
        for (int j = 0; j < replica.Stages.Count; j++)
        {
            if (replica.Stages[j].MemoryBytes > _problem.Cluster.Devices[draft.Devices[j]].MemoryBytes + (_problem.Options.UseHostMemory ? _problem.Cluster.Devices[draft.Devices[j]].HostMemoryBytes : 0))
            {
                return;
            }
        }

        ReplicaRates found = _assembler.Evaluator.Evaluate(replica);
        var item = new Choice(draft, found.PrefillRequestsPerSecond, found.DecodeRequestsPerSecond, split.Bytes);
        if (found.CycleSeconds <= _problem.Work.MaxCycleSeconds
            && !_choices[mask].Exists(there => there.Prefill >= item.Prefill && there.Decode >= item.Decode && there.Bytes <= item.Bytes))
        {
            _choices[mask].Add(item);
        }
    }

    // Fewest bytes of a chain of all devices of the mask, every stage within the limit.
    private (int[] Devices, int[] Layers, long Bytes)? Split(int mask, RoleTable table, double limit)
    {
        int[] members = [.. Enumerable.Range(0, _count).Where(d => (mask >> d & 1) == 1)];
        int k = members.Length, all = (1 << k) - 1, width = _layers + 1;
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
                int most = Math.Min(_layers, table.Capacity[variant][_classOf[d]]);
                while (most > 0 && Seconds(table, _classOf[d], variant, most) > limit)
                {
                    most--;
                }

                long extra = Extra(d, variant);
                for (int l = 0; l < _layers; l++)
                {
                    long before = bytes[(used * width) + l];
                    for (int n = next == all ? _layers - l : 1; before < long.MaxValue && n <= Math.Min(most, _layers - l); n++)
                    {
                        long sum = before + _missing[d][l + n] - _missing[d][l] + extra;
                        int to = (next * width) + l + n;
                        if (sum < bytes[to])
                        {
                            (bytes[to], from[to]) = (sum, (m, n));
                        }
                    }
                }
            }
        }

        long total = bytes[(all * width) + _layers];
        if (total == long.MaxValue)
        {
            return null;
        }

        var devices = new int[k];
        var split = new int[k];
        for (int j = k - 1, used = all, l = _layers; j >= 0; j--)
        {
            (int m, int n) = from[(used * width) + l];
            (devices[j], split[j]) = (_problem.Devices[members[m]], n);
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
            none, _held[d]?.Embedding ?? false, _held[d]?.Head ?? false, none, (variant & RoleTable.Embedding) != 0, (variant & RoleTable.Head) != 0, _problem.Model);
    }

    private void Partition(int left, double prefill, double decode, long bytes, double capacity)
    {
        if (bytes >= _bestBytes)
        {
            return;
        }

        if (Math.Min(prefill, decode) >= capacity)
        {
            (_best, _bestBytes) = ([.. _taken], bytes);
            return;
        }

        if (left == 0)
        {
            return;
        }

        int lowest = left & -left, rest = left ^ lowest;
        for (int part = rest; ; part = (part - 1) & rest)
        {
            foreach (Choice choice in _choices[part | lowest])
            {
                if (bytes + choice.Bytes >= _bestBytes)
                {
                    break;
                }

                _taken.Add(choice);
                Partition(left ^ (part | lowest), prefill + choice.Prefill, decode + choice.Decode, bytes + choice.Bytes, capacity);
                _taken.RemoveAt(_taken.Count - 1);
            }

            if (part == 0)
            {
                break;
            }
        }

        Partition(rest, prefill, decode, bytes, capacity);
    }
}
