using System.Numerics;
using E2LLM.Deployment;
using E2LLM.Planning.Partitioning;

namespace E2LLM.Planning.Clustering;

/// <summary>
/// Rates of groups whose links differ, for all subsets of at most <see cref="LinkAwareSplit.MaxDevices"/> devices (a state is a mask). Prefill is exact from one recursion. Decode starts
/// with a bound, the larger of the shortest sum and the micro-batches times the shortest maximum, which no split need reach together, over ranges of slots; a group that is taken is then solved
/// itself for all its slots, by bisection on its cycle. Groups have at most <see cref="MaxGroup"/> devices. Not thread-safe.
/// </summary>
internal sealed partial class LinkAwareRates : IGroupRates
{
    /// <summary>Most devices of a replica.</summary>
    public const int MaxGroup = 8;

    private const int MaxMixedGroup = 6;
    private const int Rounds = 40;
    private readonly PlanningProblem _problem;
    private readonly PlanEvaluator _evaluator;
    private readonly LinkAwareSplit _split;
    private readonly RoleTable _prefill;
    private readonly CancellationToken _cancellation;
    private readonly double[] _prefillSeconds;
    private readonly double[] _decodeRate;
    private readonly Dictionary<(int Mask, bool Prefill), ReplicaDraft> _drafts = [];
    private readonly Dictionary<(int Mask, MixedChoice Choice), ReplicaDraft> _mixedDrafts = [];
    private readonly HashSet<int> _real = [];
    private readonly int _count;
    private PortFreeRates? _portFree;

    public LinkAwareRates(PlanningProblem problem, CancellationToken cancellation)
    {
        _problem = problem;
        _cancellation = cancellation;
        _evaluator = new PlanEvaluator(problem);
        _split = new LinkAwareSplit(problem);
        _count = problem.Classes.Length;
        int all = (1 << _count) - 1, most = Math.Min(MaxGroup, Math.Min(_count, problem.MaxStageCount));
        _prefill = RoleTable.Prefill(problem);
        _prefillSeconds = _split.Solve(_prefill, false, all, most, 0, double.PositiveInfinity, false, null, cancellation);
        _decodeRate = new double[all + 1];
        for (int size = 1; size <= most; size++)
        {
            foreach ((int lowest, int highest) in Ranges(size))
            {
                RoleTable table = RoleTable.DecodeRange(problem, ReplicaRole.Decode, lowest, highest, size);
                double[] longest = _split.Solve(table, false, all, size, size, double.PositiveInfinity, false, null, cancellation);
                double[] sums = _split.Solve(table, true, all, size, size, double.PositiveInfinity, false, null, cancellation);
                int micro = Math.Min(size, lowest);
                for (int mask = 1; mask <= all; mask++)
                {
                    double cycle = Math.Max(sums[mask], micro * longest[mask]);
                    if (BitOperations.PopCount((uint)mask) == size && cycle <= problem.Work.MaxCycleSeconds)
                    {
                        _decodeRate[mask] = Math.Max(_decodeRate[mask], highest / (cycle * problem.Work.OutputMean));
                    }
                }
            }
        }
    }

    public RoleChoice Prefill(int state, ReadOnlySpan<int> counts, double atLeast) =>
        Choice(double.IsPositiveInfinity(_prefillSeconds[state]) ? 0 : 1 / _prefillSeconds[state], atLeast);

    public RoleChoice Decode(int state, ReadOnlySpan<int> counts, double atLeast) => Choice(_decodeRate[state], atLeast);

    public bool MixedIsExact => false;

    public PortFreeRates PortFree => _portFree ??= new PortFreeRates(_problem);

    public MixedLimits LimitsOfMixed(int state, ReadOnlySpan<int> counts, bool tight)
    {
        (double p, double d) = PortFree.Of(counts);
        return new MixedLimits(p, d, double.PositiveInfinity);
    }

    public void Mixed(int state, ReadOnlySpan<int> counts, bool all, Func<MixedLimits, bool> worth, List<MixedChoice> choices)
    {
        int size = BitOperations.PopCount((uint)state);
        if (size > MaxMixedGroup || !worth(LimitsOfMixed(state, counts, false)))
        {
            return;
        }

        foreach ((int _, int slots) in Ranges(size))
        {
            (RoleTable first, RoleTable second) = RoleTable.Mixed(_problem, slots, GroupRates.Batch(slots, size));
            Add(choices, state, size, slots, first, false, true);
            Add(choices, state, size, slots, second, false, false);
            if (size > 1)
            {
                Add(choices, state, size, slots, second, true, false);
            }
        }
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
            if (!_drafts.ContainsKey((pick.State, true)))
            {
                _drafts[(pick.State, true)] = Trace(_prefill, false, pick.State, double.PositiveInfinity, ReplicaRole.Prefill, 0, false)!;
            }

            return true;
        }

        if (_real.Contains(pick.State))
        {
            return true;
        }

        (double rate, ReplicaDraft? draft) = SolveDecode(pick.State);
        bool kept = rate >= _decodeRate[pick.State] * (1 - 1e-9);
        _decodeRate[pick.State] = rate;
        _real.Add(pick.State);
        if (draft is not null)
        {
            _drafts[(pick.State, false)] = draft;
        }

        return kept;
    }

    public (int Slots, List<(int Class, int Layers)> Stages) Stages(GroupPick pick)
    {
        ReplicaDraft draft = pick.Role == ReplicaRole.Mixed
            ? _mixedDrafts[(pick.State, pick.Mixed)]
            : _drafts[(pick.State, pick.Role == ReplicaRole.Prefill)];
        return (draft.Slots, [.. draft.Devices.Select((device, j) => (Array.FindIndex(_problem.Classes, item => item.Devices[0] == device), draft.Layers[j]))]);
    }

    private static RoleChoice Choice(double rate, double atLeast) => new(rate > atLeast ? rate : 0, 0, -1, -1);

    // Slots in groups: each alone below one per stage, then those of one micro-batch, or of a few where they are large.
    private List<(int Lowest, int Highest)> Ranges(int size)
    {
        var ranges = new List<(int, int)>();
        int most = _problem.Options.MaxDecodeSlots;
        for (int c = 1; c <= Math.Min(size, most); c++)
        {
            ranges.Add((c, c));
        }

        for (int batch = 2; ((batch - 1) * size) + 1 <= most;)
        {
            int last = batch < 4 ? batch : batch + (batch / 2) - 1;
            ranges.Add((((batch - 1) * size) + 1, Math.Min(last * size, most)));
            batch = last + 1;
        }

        return ranges;
    }

    private void Add(List<MixedChoice> choices, int state, int size, int slots, RoleTable table, bool sums, bool isPrefill)
    {
        if (Trace(table, sums, state, double.PositiveInfinity, ReplicaRole.Mixed, slots, true) is not { } draft)
        {
            return;
        }

        Deployment.ReplicaPlan replica = new PlanAssembler(_problem).Replica(draft);
        ReplicaRates rates = _evaluator.Evaluate(replica);
        double kv = _evaluator.KvSeconds(replica);
        if (rates.CycleSeconds > _problem.Work.MaxCycleSeconds || size != draft.Devices.Length)
        {
            return;
        }

        var choice = new MixedChoice(
            rates.PrefillRequestsPerSecond, rates.DecodeRequestsPerSecond, new RoleChoice(rates.DecodeRequestsPerSecond, slots, -1, -1), isPrefill ? 1 : 0, _problem.LayerCount,
            kv > 0 ? 1 / kv : double.PositiveInfinity);
        if (_mixedDrafts.TryAdd((state, choice), draft))
        {
            choices.Add(choice);
        }
    }

    private double Value(RoleTable table, bool sums, int mask, double stageLimit, double portLimit = double.PositiveInfinity)
    {
        int size = BitOperations.PopCount((uint)mask);
        return _split.Solve(table, sums, mask, size, size, stageLimit, false, null, _cancellation, portLimit)[^1];
    }

    private ReplicaDraft? Trace(
        RoleTable table, bool sums, int mask, double stageLimit, ReplicaRole role, int slots, bool mixed, double portLimit = double.PositiveInfinity)
    {
        var stages = new List<(int Device, int Layers)>();
        int size = BitOperations.PopCount((uint)mask);
        _split.Solve(table, sums, mask, size, size, stageLimit, mixed, stages, _cancellation, portLimit);
        return stages.Count == 0 ? null : new ReplicaDraft(
            role, slots, role == ReplicaRole.Prefill ? 1 : 0,
            [.. stages.Select(stage => _problem.Classes[stage.Device].Devices[0])], [.. stages.Select(stage => stage.Layers)]);
    }
}
