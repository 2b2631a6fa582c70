using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Planning.Clustering;

namespace E2LLM.Tests.Planning;

/// <summary>
/// Every ordered plan: all set partitions (devices may idle), orders of stages, splits of layers, roles, concurrencies; at most one mixed replica, where those are allowed. Judged by the evaluator alone.
/// </summary>
internal sealed class BruteForce
{
    private readonly PlanningProblem _problem;
    private readonly PlanEvaluator _evaluator;
    private readonly int[] _slots;
    private readonly int _count;
    private readonly double _slowdown;
    private readonly List<(double Prefill, double Decode, double Passes)>[] _mixed;

    public BruteForce(Cluster cluster, ModelCost model, Workload workload, PlannerOptions options)
    {
        _problem = new PlanningProblem(cluster, model, workload, options);
        _evaluator = new PlanEvaluator(_problem);
        _slots = [.. Enumerable.Range(1, options.MaxDecodeSlots)];
        _count = cluster.Devices.Count;
        _slowdown = options.AllowMixed ? options.MixedSlowdown : 0;
        _mixed = [.. Enumerable.Range(0, 1 << _count).Select(_ => new List<(double, double, double)>())];
        Prefill = new double[1 << _count];
        Decode = new double[1 << _count];
        for (int mask = 1; mask < 1 << _count; mask++)
        {
            Fill(mask);
        }
    }

    public double[] Prefill { get; }

    public double[] Decode { get; }

    public long Ordered { get; private set; }

    public double Capacity()
    {
        double best = 0;
        Partition((1 << _count) - 1, 0, 0, ref best);
        for (int mask = 1; mask < 1 << _count; mask++)
        {
            foreach ((double prefill, double decode, double passes) in _mixed[mask])
            {
                Others(((1 << _count) - 1) ^ mask, 0, 0, (prefill / _slowdown, decode / _slowdown, passes), ref best);
            }
        }

        return best;
    }

    // Pure replicas beside a mixed one: time moves between its phases until both are level, or the ports pass no more.
    private void Others(int left, double prefill, double decode, (double Prefill, double Decode, double Passes) shared, ref double best)
    {
        (double p, double d, double passes) = shared;
        foreach (double share in new[] { 0, 1, (decode + d - prefill) / (p + d), (d - passes) / (p + d), (d + passes) / (p + d) })
        {
            if (share is >= 0 and <= 1)
            {
                double ours = share * p, theirs = (1 - share) * d;
                best = Math.Max(best, Math.Min(prefill + Math.Min(ours, theirs + passes), decode + Math.Min(theirs, ours + passes)));
            }
        }

        for (int part = left; part > 0; part = (part - 1) & left)
        {
            // The lowest device is in this group, or idle for good.
            int rest = left ^ part, below = (part & -part) - 1;
            if (Prefill[part] > 0)
            {
                Others(rest & ~below, prefill + Prefill[part], decode, shared, ref best);
            }

            if (Decode[part] > 0)
            {
                Others(rest & ~below, prefill, decode + Decode[part], shared, ref best);
            }
        }
    }

    private void Partition(int left, double prefill, double decode, ref double best)
    {
        best = Math.Max(best, Math.Min(prefill, decode));
        if (left == 0)
        {
            return;
        }

        int lowest = left & -left, rest = left ^ lowest;
        Partition(rest, prefill, decode, ref best);
        for (int part = rest; ; part = (part - 1) & rest)
        {
            int group = part | lowest;
            if (Prefill[group] > 0)
            {
                Partition(left ^ group, prefill + Prefill[group], decode, ref best);
            }

            if (Decode[group] > 0)
            {
                Partition(left ^ group, prefill, decode + Decode[group], ref best);
            }

            if (part == 0)
            {
                break;
            }
        }
    }

    private void Fill(int mask)
    {
        int[] devices = [.. Enumerable.Range(0, _count).Where(i => (mask >> i & 1) == 1)];
        if (devices.Length > _problem.LayerCount)
        {
            return;
        }

        foreach (int[] order in Orders(devices))
        {
            foreach (int[] layers in Splits(_problem.LayerCount, order.Length))
            {
                Ordered++;
                Judge(mask, new ReplicaDraft(ReplicaRole.Prefill, 0, 1, order, layers));
                foreach (int c in _slots)
                {
                    Judge(mask, new ReplicaDraft(ReplicaRole.Decode, c, 0, order, layers));
                    if (_slowdown > 0)
                    {
                        Judge(mask, new ReplicaDraft(ReplicaRole.Mixed, c, 0.5, order, layers));
                    }
                }
            }
        }
    }

    private void Judge(int mask, ReplicaDraft draft)
    {
        ReplicaPlan replica = Draw(draft);
        for (int j = 0; j < replica.Stages.Count; j++)
        {
            if (replica.Stages[j].MemoryBytes > _problem.Cluster.Devices[draft.Devices[j]].MemoryBytes)
            {
                return;
            }

            int next = draft.Devices[(j + 1) % draft.Devices.Length];
            if (next != draft.Devices[j] && _problem.Network[draft.Devices[j], next] is null)
            {
                return;
            }
        }

        ReplicaRates rates = _evaluator.Evaluate(replica);
        if (draft.Role == ReplicaRole.Mixed)
        {
            (double p, double d, double passes) = (rates.PrefillRequestsPerSecond, rates.DecodeRequestsPerSecond, 1 / _evaluator.KvSeconds(replica));
            if (rates.CycleSeconds <= _problem.Work.MaxCycleSeconds && !_mixed[mask].Exists(there => there.Prefill >= p && there.Decode >= d && there.Passes >= passes))
            {
                _mixed[mask].RemoveAll(there => p >= there.Prefill && d >= there.Decode && passes >= there.Passes);
                _mixed[mask].Add((p, d, passes));
            }
        }
        else if (draft.Role == ReplicaRole.Prefill)
        {
            Prefill[mask] = Math.Max(Prefill[mask], rates.PrefillRequestsPerSecond);
        }
        else if (rates.CycleSeconds <= _problem.Work.MaxCycleSeconds)
        {
            Decode[mask] = Math.Max(Decode[mask], rates.DecodeRequestsPerSecond);
        }
    }

    private ReplicaPlan Draw(ReplicaDraft draft)
    {
        int start = 0, batch = draft.Slots > 0 ? GroupRates.Batch(draft.Slots, draft.Devices.Length) : 1;
        var stages = new StagePlan[draft.Devices.Length];
        for (int j = 0; j < stages.Length; j++)
        {
            var layers = new LayerRange(start, start += draft.Layers[j]);
            stages[j] = new StagePlan
            {
                Device = _problem.Cluster.Devices[draft.Devices[j]].Name,
                Layers = layers,
                Embedding = j == 0,
                Head = j == stages.Length - 1,
                MemoryBytes = _problem.Times.Memory(draft.Role, layers, j == 0, j == stages.Length - 1, draft.Slots, batch),
            };
        }

        return new ReplicaPlan { Name = "r", Role = draft.Role, DecodeSlots = draft.Slots, PrefillShare = draft.PrefillShare, Stages = stages };
    }

    public static IEnumerable<int[]> Orders(int[] items)
    {
        if (items.Length <= 1)
        {
            yield return items;
            yield break;
        }

        for (int i = 0; i < items.Length; i++)
        {
            foreach (int[] rest in Orders([.. items.Where((_, j) => j != i)]))
            {
                yield return [items[i], .. rest];
            }
        }
    }

    public static IEnumerable<int[]> Splits(int layers, int parts)
    {
        if (parts == 1)
        {
            yield return [layers];
            yield break;
        }

        for (int first = 1; first <= layers - parts + 1; first++)
        {
            foreach (int[] rest in Splits(layers - first, parts - 1))
            {
                yield return [first, .. rest];
            }
        }
    }
}
