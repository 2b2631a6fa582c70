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
    private readonly PlanningProblem problem;
    private readonly ThresholdSplit split;
    private readonly RoleTable prefill;
    private readonly Dictionary<int, MixedLimits> limits = [];
    private PortFreeRates? portFree;
    private readonly Dictionary<(int Slots, int Batch), RoleTable> decode = [];
    private readonly Dictionary<(ReplicaRole Role, int Lowest, int Highest, int Size), RoleTable> ranges = [];
    private readonly Dictionary<(int Slots, int Batch), (RoleTable Prefill, RoleTable Decode)> mixed = [];

    public GroupRates(PlanningProblem problem)
    {
        this.problem = problem;
        split = new ThresholdSplit(problem);
        prefill = RoleTable.Prefill(problem);
    }

    public RoleTable PrefillTable => prefill;

    public RoleTable DecodeTable(int slots, int size)
    {
        int batch = Batch(slots, size);
        if (!decode.TryGetValue((slots, batch), out RoleTable? table))
        {
            decode[(slots, batch)] = table = RoleTable.Decode(problem, slots, batch);
        }

        return table;
    }

    public RoleChoice Prefill(int state, ReadOnlySpan<int> counts, double atLeast)
    {
        double rate = split.BestRate(counts, prefill, atLeast, out int embedding, out int head);
        return new RoleChoice(rate, 0, embedding, head);
    }

    public RoleChoice Decode(int state, ReadOnlySpan<int> counts, double atLeast)
    {
        var best = new RoleChoice(0, 0, -1, -1);
        Decode(counts, Sum(counts), 1, problem.Options.MaxDecodeSlots, atLeast, ref best);
        return best;
    }

    private void Decode(ReadOnlySpan<int> counts, int size, int lowest, int highest, double atLeast, ref RoleChoice best)
    {
        double least = Math.Max(atLeast, best.Rate);
        if (lowest == highest)
        {
            double rate = split.BestRate(counts, DecodeTable(lowest, size), least, out int embedding, out int head);
            best = rate > least ? new RoleChoice(rate, lowest, embedding, head) : best;
            return;
        }

        // More than twofold ranges are never ruled out but by memory, which their upper half meets too.
        if (highest <= 2 * lowest && !split.MayExceed(counts, Range(ReplicaRole.Decode, lowest, highest, size), least))
        {
            return;
        }

        int middle = (lowest + highest) / 2;
        Decode(counts, size, middle + 1, highest, atLeast, ref best);
        Decode(counts, size, lowest, middle, atLeast, ref best);
    }

    public bool MixedIsExact => true;

    public PortFreeRates PortFree => portFree ??= new PortFreeRates(problem);

    public MixedLimits LimitsOfMixed(int state, ReadOnlySpan<int> counts, bool tight)
    {
        int size = Sum(counts);
        double passes = Passes((problem.LayerCount + size - 1) / Math.Max(1, size));
        if (!tight)
        {
            (double p, double d) = PortFree.Of(counts);
            return new MixedLimits(p, d, passes);
        }

        if (!limits.TryGetValue(state, out MixedLimits found))
        {
            double most = split.BestRate(counts, MixedTables(1, size).Prefill, 0, out _, out _), decodes = 0;
            if (most > 0)
            {
                MostDecodes(counts, size, 1, problem.Options.MaxDecodeSlots, ref decodes);
            }

            limits[state] = found = new MixedLimits(most, decodes, passes);
        }

        return found;
    }

    private void MostDecodes(ReadOnlySpan<int> counts, int size, int lowest, int highest, ref double best)
    {
        if (lowest == highest)
        {
            best = Math.Max(best, split.BestRate(counts, MixedTables(lowest, size).Decode, best, out _, out _));
        }
        else if (highest > 2 * lowest || split.MayExceed(counts, Range(ReplicaRole.Mixed, lowest, highest, size), best))
        {
            MostDecodes(counts, size, ((lowest + highest) / 2) + 1, highest, ref best);
            MostDecodes(counts, size, lowest, (lowest + highest) / 2, ref best);
        }
    }

    public void Mixed(int state, ReadOnlySpan<int> counts, bool all, Func<MixedLimits, bool> worth, List<MixedChoice> choices)
    {
        int size = Sum(counts);
        if (size > 0 && size <= problem.MaxStageCount)
        {
            Mixed(counts, size, 1, problem.Options.MaxDecodeSlots, all, worth, choices);
        }
    }

    private void Mixed(ReadOnlySpan<int> counts, int size, int lowest, int highest, bool all, Func<MixedLimits, bool> worth, List<MixedChoice> choices)
    {
        if (highest <= 2 * lowest)
        {
            double most = split.BestRate(counts, MixedTables(lowest, size).Prefill, 0, out _, out _);
            double decodes = split.BestRate(counts, Range(ReplicaRole.Mixed, lowest, highest, size), 0, out _, out _);
            if (!(most > 0) || !(decodes > 0) || !worth(new MixedLimits(most, decodes, Passes((problem.LayerCount + size - 1) / size))))
            {
                return;
            }

            if (lowest == highest)
            {
                // Fewer layers on the fullest stage let more KV caches pass: one frontier for every such limit, until the ports limit nothing.
                int mostLayers = problem.LayerCount;
                do
                {
                    mostLayers = Frontier(counts, lowest, size, mostLayers, most, worth, choices) - 1;
                }
                while (all && mostLayers > 0 && Passes(mostLayers + 1) < Math.Max(most, decodes) / problem.Options.MixedSlowdown);

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
        double above = 0, passes = Passes((problem.LayerCount + size - 1) / size);
        int used = 0;
        while (true)
        {
            double rate = split.BestRate(counts, second, 0, out int embedding, out int head, first, above, mostLayers);
            if (!(rate > 0) || !worth(new MixedLimits(most, rate, passes)))
            {
                return used;
            }

            List<(int Class, int Layers, int Variant)> stages = split.Split(counts, second, embedding, head, rate, first, above, mostLayers);
            double other = split.RateOf(stages, first);
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

    private double Passes(int layers) => prefill.PortPerLayer > 0 ? 1 / (prefill.PortPerLayer * layers) : double.PositiveInfinity;

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
            : pick.Role == ReplicaRole.Prefill ? (null, prefill) : ((RoleTable?)null, DecodeTable(choice.Slots, size));
        List<(int Class, int Layers, int Variant)> stages = split.Split(
            pick.Counts, table, choice.Embedding, choice.Head, choice.Rate, other, pick.Mixed.PrefillAbove, isMixed ? pick.Mixed.MostLayers : int.MaxValue);
        return (choice.Slots, [.. stages.Select(stage => (stage.Class, stage.Layers))]);
    }

    /// <summary>Sequences per micro-batch: <c>ceil(c / min(k, c))</c>.</summary>
    public static int Batch(int slots, int size) => StageMemory.DecodeBatch(slots, size);

    private RoleTable Range(ReplicaRole role, int lowest, int highest, int size)
    {
        (ReplicaRole, int, int, int) key = (role, lowest, highest, size);
        if (!ranges.TryGetValue(key, out RoleTable? table))
        {
            ranges[key] = table = RoleTable.DecodeRange(problem, role, lowest, highest, size);
        }

        return table;
    }

    private (RoleTable Prefill, RoleTable Decode) MixedTables(int slots, int size)
    {
        int batch = Batch(slots, size);
        if (!mixed.TryGetValue((slots, batch), out (RoleTable, RoleTable) tables))
        {
            mixed[(slots, batch)] = tables = RoleTable.Mixed(problem, slots, batch);
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
