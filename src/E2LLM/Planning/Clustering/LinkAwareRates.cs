using System.Numerics;
using E2LLM.Deployment;
using E2LLM.Planning.Partitioning;

namespace E2LLM.Planning.Clustering;

/// <summary>
/// Rates of groups whose links differ, for all subsets of at most <see cref="LinkAwareSplit.MaxDevices"/> devices (a state is a mask). Prefill is exact from one recursion. Decode starts
/// with a bound, the larger of the shortest sum and the micro-batches times the shortest maximum, which no split need reach together; a group that is taken is then solved
/// itself, by bisection on its cycle. Decode slots are whole micro-batches: <c>c = k b</c>, or fewer slots than stages. Not thread-safe.
/// </summary>
internal sealed class LinkAwareRates : IGroupRates
{
    private const int MaxGroup = 8;
    private const int Rounds = 24;
    private readonly PlanningProblem problem;
    private readonly PlanEvaluator evaluator;
    private readonly LinkAwareSplit split;
    private readonly RoleTable prefill;
    private readonly CancellationToken cancellation;
    private readonly double[] prefillSeconds;
    private readonly double[] decodeRate;
    private readonly Dictionary<(int Mask, bool Prefill), ReplicaDraft> drafts = [];
    private readonly Dictionary<(int Mask, int Slots, bool SplitIsPrefill), ReplicaDraft> mixedDrafts = [];
    private readonly HashSet<int> real = [];
    private readonly int count;

    public LinkAwareRates(PlanningProblem problem, CancellationToken cancellation)
    {
        this.problem = problem;
        this.cancellation = cancellation;
        evaluator = new PlanEvaluator(problem);
        split = new LinkAwareSplit(problem);
        count = problem.Classes.Length;
        int all = (1 << count) - 1, most = Math.Min(MaxGroup, Math.Min(count, problem.MaxStageCount));
        prefill = RoleTable.Prefill(problem);
        prefillSeconds = split.Solve(prefill, false, all, most, 0, double.PositiveInfinity, false, null, cancellation);
        decodeRate = new double[all + 1];
        for (int size = 1; size <= most; size++)
        {
            foreach (int slots in Slots(size))
            {
                RoleTable table = RoleTable.Decode(problem, slots, GroupRates.Batch(slots, size));
                double[] longest = split.Solve(table, false, all, size, size, double.PositiveInfinity, false, null, cancellation);
                double[] sums = split.Solve(table, true, all, size, size, double.PositiveInfinity, false, null, cancellation);
                int micro = Math.Min(size, slots);
                for (int mask = 1; mask <= all; mask++)
                {
                    double cycle = Math.Max(sums[mask], micro * longest[mask]);
                    if (BitOperations.PopCount((uint)mask) == size && cycle <= problem.Work.MaxCycleSeconds)
                    {
                        decodeRate[mask] = Math.Max(decodeRate[mask], slots / (cycle * problem.Work.OutputMean));
                    }
                }
            }
        }
    }

    public RoleChoice Prefill(int state, ReadOnlySpan<int> counts, double atLeast) =>
        Choice(double.IsPositiveInfinity(prefillSeconds[state]) ? 0 : 1 / prefillSeconds[state], atLeast);

    public RoleChoice Decode(int state, ReadOnlySpan<int> counts, double atLeast) => Choice(decodeRate[state], atLeast);

    public List<MixedChoice> Mixed(int state, ReadOnlySpan<int> counts, out double bestPrefill, out double bestDecode)
    {
        var choices = new List<MixedChoice>();
        int size = BitOperations.PopCount((uint)state);
        (bestPrefill, bestDecode) = (double.IsPositiveInfinity(prefillSeconds[state]) ? 0 : 1 / prefillSeconds[state], decodeRate[state]);
        if (size > 6)
        {
            return choices;
        }

        foreach (int slots in Slots(size))
        {
            (RoleTable first, RoleTable second) = RoleTable.Mixed(problem, slots, GroupRates.Batch(slots, size));
            Add(choices, state, size, slots, first, false, true);
            Add(choices, state, size, slots, second, false, false);
            if (size > 1)
            {
                Add(choices, state, size, slots, second, true, false);
            }
        }

        return choices;
    }

    public bool Confirm(GroupPick pick)
    {
        if (pick.Role == ReplicaRole.Mixed)
        {
            return true;
        }

        bool isPrefill = pick.Role == ReplicaRole.Prefill;
        if (isPrefill)
        {
            if (!drafts.ContainsKey((pick.State, true)))
            {
                drafts[(pick.State, true)] = Trace(prefill, false, pick.State, double.PositiveInfinity, ReplicaRole.Prefill, 0, false)!;
            }

            return true;
        }

        if (real.Contains(pick.State))
        {
            return true;
        }

        (double rate, ReplicaDraft? draft) = SolveDecode(pick.State);
        bool kept = rate >= decodeRate[pick.State] * (1 - 1e-9);
        decodeRate[pick.State] = rate;
        real.Add(pick.State);
        if (draft is not null)
        {
            drafts[(pick.State, false)] = draft;
        }

        return kept;
    }

    public (int Slots, List<(int Class, int Layers)> Stages) Stages(GroupPick pick)
    {
        ReplicaDraft draft = pick.Role == ReplicaRole.Mixed
            ? mixedDrafts[(pick.State, pick.Choice.Slots, pick.Mixed.SplitIsPrefill)]
            : drafts[(pick.State, pick.Role == ReplicaRole.Prefill)];
        return (draft.Slots, [.. draft.Devices.Select((device, j) => (Array.FindIndex(problem.Classes, item => item.Devices[0] == device), draft.Layers[j]))]);
    }

    private static RoleChoice Choice(double rate, double atLeast) => new(rate > atLeast ? rate : 0, 0, -1, -1);

    private List<int> Slots(int size)
    {
        var slots = new List<int>();
        int most = problem.Options.MaxDecodeSlots;
        for (int c = 1; c < Math.Min(size, most + 1); c++)
        {
            slots.Add(c);
        }

        for (int batch = 1; batch * size <= most; batch += batch < 4 ? 1 : batch / 2)
        {
            slots.Add(batch * size);
        }

        return slots;
    }

    private void Add(List<MixedChoice> choices, int state, int size, int slots, RoleTable table, bool sums, bool isPrefill)
    {
        if (Trace(table, sums, state, double.PositiveInfinity, ReplicaRole.Mixed, slots, true) is not { } draft)
        {
            return;
        }

        ReplicaRates rates = evaluator.Evaluate(new PlanAssembler(problem).Replica(draft));
        if (rates.CycleSeconds > problem.Work.MaxCycleSeconds || size != draft.Devices.Length)
        {
            return;
        }

        bool better = true;
        int same = choices.FindIndex(item => item.Split.Slots == slots && item.SplitIsPrefill == isPrefill);
        if (same >= 0)
        {
            better = rates.DecodeRequestsPerSecond > choices[same].DecodeRate;
            if (better)
            {
                choices.RemoveAt(same);
            }
        }

        if (better)
        {
            mixedDrafts[(state, slots, isPrefill)] = draft;
            choices.Add(new MixedChoice(
                rates.PrefillRequestsPerSecond, rates.DecodeRequestsPerSecond, new RoleChoice(rates.DecodeRequestsPerSecond, slots, -1, -1), isPrefill));
        }
    }

    private (double Rate, ReplicaDraft? Draft) SolveDecode(int mask)
    {
        int size = BitOperations.PopCount((uint)mask);
        (double Rate, ReplicaDraft? Draft) best = (0, null);
        foreach (int slots in Slots(size))
        {
            RoleTable table = RoleTable.Decode(problem, slots, GroupRates.Batch(slots, size));
            int micro = Math.Min(size, slots);
            double longest = Value(table, false, mask, double.PositiveInfinity), sum = Value(table, true, mask, double.PositiveInfinity);
            double low = Math.Max(sum, micro * longest);
            if (!(low <= problem.Work.MaxCycleSeconds) || slots / (low * problem.Work.OutputMean) <= best.Rate)
            {
                continue;
            }

            // The cycle X can be had if the shortest sum with no stage above X / m is no more than X.
            double high = low;
            while (Value(table, true, mask, Slack(high / micro)) > Slack(high) && high < low * 64)
            {
                high *= 1.25;
            }

            for (int round = 0; round < Rounds && high > low * (1 + 1e-9); round++)
            {
                double middle = (low + high) / 2;
                if (Value(table, true, mask, middle / micro) <= middle)
                {
                    high = middle;
                }
                else
                {
                    low = middle;
                }
            }

            Consider(Trace(table, true, mask, Slack(high / micro), ReplicaRole.Decode, slots, false), ref best);
            Consider(Trace(table, false, mask, double.PositiveInfinity, ReplicaRole.Decode, slots, false), ref best);
        }

        return best;
    }

    private static double Slack(double seconds) => seconds * (1 + 1e-12);

    private void Consider(ReplicaDraft? draft, ref (double Rate, ReplicaDraft? Draft) best)
    {
        if (draft is null)
        {
            return;
        }

        ReplicaRates rates = evaluator.Evaluate(new PlanAssembler(problem).Replica(draft));
        if (rates.CycleSeconds <= problem.Work.MaxCycleSeconds && rates.DecodeRequestsPerSecond > best.Rate)
        {
            best = (rates.DecodeRequestsPerSecond, draft);
        }
    }

    private double Value(RoleTable table, bool sums, int mask, double stageLimit)
    {
        int size = BitOperations.PopCount((uint)mask);
        return split.Solve(table, sums, mask, size, size, stageLimit, false, null, cancellation)[^1];
    }

    private ReplicaDraft? Trace(RoleTable table, bool sums, int mask, double stageLimit, ReplicaRole role, int slots, bool mixed)
    {
        var stages = new List<(int Device, int Layers)>();
        int size = BitOperations.PopCount((uint)mask);
        split.Solve(table, sums, mask, size, size, stageLimit, mixed, stages, cancellation);
        return stages.Count == 0 ? null : new ReplicaDraft(
            role, slots, role == ReplicaRole.Prefill ? 1 : 0,
            [.. stages.Select(stage => problem.Classes[stage.Device].Devices[0])], [.. stages.Select(stage => stage.Layers)]);
    }
}
