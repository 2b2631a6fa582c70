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
internal readonly record struct MixedChoice(double PrefillRate, double DecodeRate, RoleChoice Split, bool SplitIsPrefill);

/// <summary>
/// Rates of groups given as counts of device classes, all decode concurrencies tried. Not thread-safe. Tables are made once per (slots, batch).
/// </summary>
internal sealed class GroupRates : IGroupRates
{
    private readonly PlanningProblem problem;
    private readonly ThresholdSplit split;
    private readonly RoleTable prefill;
    private readonly Dictionary<(int Slots, int Batch), RoleTable> decode = [];
    private readonly Dictionary<(int Slots, int Batch), (RoleTable Prefill, RoleTable Decode)> mixed = [];

    public GroupRates(PlanningProblem problem)
    {
        this.problem = problem;
        split = new ThresholdSplit(problem);
        prefill = RoleTable.Prefill(problem);
        SlotCandidates = Candidates(problem.Options.MaxDecodeSlots);
    }

    /// <summary>The concurrencies tried, ascending: all up to 16, then in steps that grow, and the largest.</summary>
    public int[] SlotCandidates { get; }

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
        int size = Sum(counts);
        var best = new RoleChoice(0, 0, -1, -1);
        for (int i = SlotCandidates.Length - 1; i >= 0 && size > 0; i--)
        {
            int slots = SlotCandidates[i];
            double rate = split.BestRate(counts, DecodeTable(slots, size), Math.Max(atLeast, best.Rate), out int embedding, out int head);
            if (rate > best.Rate)
            {
                best = new RoleChoice(rate, slots, embedding, head);
            }
        }

        return best;
    }

    public List<MixedChoice> Mixed(int state, ReadOnlySpan<int> counts, out double bestPrefill, out double bestDecode)
    {
        int size = Sum(counts);
        var choices = new List<MixedChoice>();
        bestPrefill = 0;
        bestDecode = 0;
        foreach (int slots in SlotCandidates)
        {
            (RoleTable first, RoleTable second) = MixedTables(slots, size);
            double rate = split.BestRate(counts, second, 0, out int embedding, out int head);
            if (rate > 0)
            {
                double other = split.RateOf(split.Split(counts, second, embedding, head, rate), first);
                choices.Add(new MixedChoice(other, rate, new RoleChoice(rate, slots, embedding, head), false));
                bestDecode = Math.Max(bestDecode, rate);
            }

            double prefillRate = split.BestRate(counts, first, 0, out embedding, out head);
            if (prefillRate > 0)
            {
                double other = split.RateOf(split.Split(counts, first, embedding, head, prefillRate), second);
                choices.Add(new MixedChoice(prefillRate, other, new RoleChoice(prefillRate, slots, embedding, head), true));
                bestPrefill = Math.Max(bestPrefill, prefillRate);
            }
        }

        choices.RemoveAll(choice => !(choice.PrefillRate > 0 && choice.DecodeRate > 0));
        return choices;
    }

    public bool Confirm(GroupPick pick) => true;

    public (int Slots, List<(int Class, int Layers)> Stages) Stages(GroupPick pick)
    {
        int size = Sum(pick.Counts);
        RoleChoice choice = pick.Choice;
        RoleTable table = pick.Role switch
        {
            ReplicaRole.Prefill => prefill,
            ReplicaRole.Decode => DecodeTable(choice.Slots, size),
            _ when pick.Mixed.SplitIsPrefill => MixedTables(choice.Slots, size).Prefill,
            _ => MixedTables(choice.Slots, size).Decode,
        };
        return (choice.Slots, [.. split.Split(pick.Counts, table, choice.Embedding, choice.Head, choice.Rate).Select(stage => (stage.Class, stage.Layers))]);
    }

    /// <summary>Sequences per micro-batch: <c>ceil(c / min(k, c))</c>.</summary>
    public static int Batch(int slots, int size) => StageMemory.DecodeBatch(slots, size);

    private static int[] Candidates(int most)
    {
        var slots = new List<int>();
        for (int c = 1; c <= most; c += c < 16 ? 1 : c < 32 ? 4 : c < 64 ? 8 : c / 4)
        {
            slots.Add(c);
        }

        if (slots[^1] != most)
        {
            slots.Add(most);
        }

        return [.. slots];
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
