using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning.Partitioning;

namespace E2LLM.Planning.Clustering;

/// <summary>How a group of devices serves one role best. Immutable.</summary>
/// <param name="Rate">Requests per second.</param>
/// <param name="Slots">Decode slots; 0 for prefill.</param>
/// <param name="Embedding">Class that holds the embedding.</param>
/// <param name="Head">Class that holds the head.</param>
internal readonly record struct RoleChoice(double Rate, int Slots, int Embedding, int Head);

/// <summary>How a mixed group serves both roles with one split. Rates are those of each phase alone. Immutable.</summary>
/// <param name="PrefillRate">Requests per second of prefill.</param>
/// <param name="DecodeRate">Requests per second of decode.</param>
/// <param name="Split">How the decode rate is had.</param>
/// <param name="PrefillAbove">The split was asked to prefill faster than this.</param>
/// <param name="MostLayers">The split was asked for no more layers on a stage.</param>
/// <param name="Passes">KV caches per second that its ports pass.</param>
internal readonly record struct MixedChoice(double PrefillRate, double DecodeRate, RoleChoice Split, double PrefillAbove, int MostLayers, double Passes);

/// <summary>
/// Rates of groups given as counts of device classes, best over all decode concurrencies: ranges of slots that an optimistic table rules out are skipped. Not thread-safe.
/// Tables are made once per (slots, batch).
/// </summary>
internal sealed class GroupRates : IGroupRates
{
    private readonly PlanningProblem _problem;
    private readonly ThresholdSplit _split;
    private readonly RoleTable _prefill;
    private readonly Dictionary<int, MixedLimits> _limits = [];
    private PortFreeRates? _portFree;
    private readonly Dictionary<(int Slots, int Batch), RoleTable> _decode = [];
    private readonly Dictionary<(ReplicaRole Role, int Lowest, int Highest, int Size), RoleTable> _ranges = [];
    private readonly Dictionary<(int Slots, int Batch), (RoleTable Prefill, RoleTable Decode)> _mixed = [];

    public GroupRates(PlanningProblem problem)
    {
        _problem = problem;
        _split = new ThresholdSplit(problem);
        _prefill = RoleTable.Prefill(problem);
    }

    public RoleTable PrefillTable => _prefill;

    public RoleTable DecodeTable(int slots, int size)
    {
        int batch = Batch(slots, size);
        if (!_decode.TryGetValue((slots, batch), out RoleTable? table))
        {
            _decode[(slots, batch)] = table = RoleTable.Decode(_problem, slots, batch);
        }

        return table;
    }

    public RoleChoice Prefill(int state, ReadOnlySpan<int> counts, double atLeast)
    {
        double rate = _split.BestRate(counts, _prefill, atLeast, out int embedding, out int head);
        return new RoleChoice(rate, 0, embedding, head);
    }

    public RoleChoice Decode(int state, ReadOnlySpan<int> counts, double atLeast)
    {
        var best = new RoleChoice(0, 0, -1, -1);
        Decode(counts, Sum(counts), 1, _problem.Options.MaxDecodeSlots, atLeast, ref best);
        return best;
    }

    private void Decode(ReadOnlySpan<int> counts, int size, int lowest, int highest, double atLeast, ref RoleChoice best)
    {
        double least = Math.Max(atLeast, best.Rate);
        if (lowest == highest)
        {
            double rate = _split.BestRate(counts, DecodeTable(lowest, size), least, out int embedding, out int head);
            best = rate > least ? new RoleChoice(rate, lowest, embedding, head) : best;
            return;
        }

        // More than twofold ranges are never ruled out but by memory, which their upper half meets too.
        if (highest <= 2 * lowest && !_split.MayExceed(counts, Range(ReplicaRole.Decode, lowest, highest, size), least))
        {
            return;
        }

        int middle = (lowest + highest) / 2;
        Decode(counts, size, middle + 1, highest, atLeast, ref best);
        Decode(counts, size, lowest, middle, atLeast, ref best);
    }

    public bool MixedIsExact => true;

    public PortFreeRates PortFree => _portFree ??= new PortFreeRates(_problem);

    public MixedLimits LimitsOfMixed(int state, ReadOnlySpan<int> counts, bool tight)
    {
        int size = Sum(counts);
        double passes = Passes((_problem.LayerCount + size - 1) / Math.Max(1, size));
        if (!tight)
        {
            (double p, double d) = PortFree.Of(counts);
            return new MixedLimits(p, d, passes);
        }

        if (!_limits.TryGetValue(state, out MixedLimits found))
        {
            double most = _split.BestRate(counts, MixedTables(1, size).Prefill, 0, out _, out _), decodes = 0;
            if (most > 0)
            {
                MostDecodes(counts, size, 1, _problem.Options.MaxDecodeSlots, ref decodes);
            }

            _limits[state] = found = new MixedLimits(most, decodes, passes);
        }

        return found;
    }

    private void MostDecodes(ReadOnlySpan<int> counts, int size, int lowest, int highest, ref double best)
    {
        if (lowest == highest)
        {
            best = Math.Max(best, _split.BestRate(counts, MixedTables(lowest, size).Decode, best, out _, out _));
        }
        else if (highest > 2 * lowest || _split.MayExceed(counts, Range(ReplicaRole.Mixed, lowest, highest, size), best))
        {
            MostDecodes(counts, size, ((lowest + highest) / 2) + 1, highest, ref best);
            MostDecodes(counts, size, lowest, (lowest + highest) / 2, ref best);
        }
    }

    public void Mixed(int state, ReadOnlySpan<int> counts, bool all, Func<MixedLimits, bool> worth, List<MixedChoice> choices)
    {
        int size = Sum(counts);
        if (size > 0 && size <= _problem.MaxStageCount)
        {
            Mixed(counts, size, 1, _problem.Options.MaxDecodeSlots, all, worth, choices);
        }
    }

    private void Mixed(ReadOnlySpan<int> counts, int size, int lowest, int highest, bool all, Func<MixedLimits, bool> worth, List<MixedChoice> choices)
    {
        if (highest <= 2 * lowest)
        {
            double most = _split.BestRate(counts, MixedTables(lowest, size).Prefill, 0, out _, out _);
            double decodes = _split.BestRate(counts, Range(ReplicaRole.Mixed, lowest, highest, size), 0, out _, out _);
            if (!(most > 0) || !(decodes > 0) || !worth(new MixedLimits(most, decodes, Passes((_problem.LayerCount + size - 1) / size))))
            {
                return;
            }

            if (lowest == highest)
            {
                // Fewer layers on the fullest stage let more KV caches pass: one frontier for every such limit, until the ports limit nothing.
                int mostLayers = _problem.LayerCount;
                do
                {
                    mostLayers = Frontier(counts, lowest, size, mostLayers, most, worth, choices) - 1;
                }
                while (all && mostLayers > 0 && Passes(mostLayers + 1) < Math.Max(most, decodes) / _problem.Options.MixedSlowdown);

                return;
            }
        }

        int middle = (lowest + highest) / 2;
        Mixed(counts, size, middle + 1, highest, all, worth, choices);
        Mixed(counts, size, lowest, middle, all, worth, choices);
    }

    // Every split with so many layers at most on a stage that no other beats in both phases: the fastest decode, then the fastest among splits that prefill faster than the last one,
    // and so on. Gives the most layers that a stage of these has.
    private int Frontier(
        ReadOnlySpan<int> counts, int slots, int size, int mostLayers, double most, Func<MixedLimits, bool> worth, List<MixedChoice> choices)
    {
        (RoleTable first, RoleTable second) = MixedTables(slots, size);
        double above = 0, passes = Passes((_problem.LayerCount + size - 1) / size);
        int used = 0;
        while (true)
        {
            double rate = _split.BestRate(counts, second, 0, out int embedding, out int head, first, above, mostLayers);
            if (!(rate > 0) || !worth(new MixedLimits(most, rate, passes)))
            {
                return used;
            }

            List<(int Class, int Layers, int Variant)> stages = _split.Split(counts, second, embedding, head, rate, first, above, mostLayers);
            double other = _split.RateOf(stages, first);
            int fullest = stages.Max(stage => stage.Layers);
            used = Math.Max(used, fullest);
            if (!(other > above))
            {
                return used;
            }

            if (worth(new MixedLimits(other, rate, Passes(fullest))))
            {
                Keep(choices, new MixedChoice(other, rate, new RoleChoice(rate, slots, embedding, head), above, mostLayers, Passes(fullest)));
            }

            above = other;
        }
    }

    private double Passes(int layers) => _prefill.PortPerLayer > 0 ? 1 / (_prefill.PortPerLayer * layers) : double.PositiveInfinity;

    private static void Keep(List<MixedChoice> choices, MixedChoice item)
    {
        foreach (MixedChoice there in choices)
        {
            if (there.PrefillRate >= item.PrefillRate && there.DecodeRate >= item.DecodeRate && there.Passes >= item.Passes)
            {
                return;
            }
        }

        choices.RemoveAll(there => item.PrefillRate >= there.PrefillRate && item.DecodeRate >= there.DecodeRate && item.Passes >= there.Passes);
        choices.Add(item);
    }

    public bool Confirm(GroupPick pick) => true;

    public (int Slots, List<(int Class, int Layers)> Stages) Stages(GroupPick pick)
    {
        int size = Sum(pick.Counts);
        RoleChoice choice = pick.Choice;
        bool isMixed = pick.Role == ReplicaRole.Mixed;
        (RoleTable? other, RoleTable table) = isMixed ? MixedTables(choice.Slots, size)
            : pick.Role == ReplicaRole.Prefill ? (null, _prefill) : ((RoleTable?)null, DecodeTable(choice.Slots, size));
        List<(int Class, int Layers, int Variant)> stages = _split.Split(
            pick.Counts, table, choice.Embedding, choice.Head, choice.Rate, other, pick.Mixed.PrefillAbove, isMixed ? pick.Mixed.MostLayers : int.MaxValue);
        return (choice.Slots, [.. stages.Select(stage => (stage.Class, stage.Layers))]);
    }

    /// <summary>Sequences per micro-batch: <c>ceil(c / min(k, c))</c>.</summary>
    public static int Batch(int slots, int size) => StageMemory.DecodeBatch(slots, size);

    private RoleTable Range(ReplicaRole role, int lowest, int highest, int size)
    {
        (ReplicaRole, int, int, int) key = (role, lowest, highest, size);
        if (!_ranges.TryGetValue(key, out RoleTable? table))
        {
            _ranges[key] = table = RoleTable.DecodeRange(_problem, role, lowest, highest, size);
        }

        return table;
    }

    private (RoleTable Prefill, RoleTable Decode) MixedTables(int slots, int size)
    {
        int batch = Batch(slots, size);
        if (!_mixed.TryGetValue((slots, batch), out (RoleTable, RoleTable) tables))
        {
            _mixed[(slots, batch)] = tables = RoleTable.Mixed(_problem, slots, batch);
        }

        return tables;
    }

    private static int Sum(ReadOnlySpan<int> counts)
    {
        int sum = 0;
        foreach (int count in counts)
        {
            sum += count;
        }

        return sum;
    }
}
