using E2LLM.Deployment;

namespace E2LLM.Planning.Clustering;

/// <summary>
/// The largest capacity over all partitions of a cluster into replicas, all roles, all concurrencies, any device idle. States are multisets of device
/// classes, so distinct devices (up to 16 or so) and many devices of few classes are the same search.
/// Steps: irreducible groups (<see cref="PatternTable"/>); the weight whose bound is smallest, by cutting planes; labels cut by those bounds
/// (<see cref="LabelSearch"/>); then one mixed replica at most, which is enough: with two, time shifted between them keeps one phase and does not harm the other.
/// </summary>
internal sealed class ExactSearch(PlanningProblem problem, IGroupRates rates, ClassStates states, double basePrefill = 0, double baseDecode = 0)
{
    private const int MaxLabels = 4_000_000;
    private const int MaxMixedGroups = 512;

    // While rates are being corrected the plan is what counts, not its proof.
    private const int MixedGroupsAtFirst = 8;
    private const int WeightsAtOnce = 3;

    // Up to so many multisets their limits as mixed groups are found by splitting them.
    private const int MostTight = 4096;

    /// <summary>Most states that are searched exhaustively.</summary>
    public const int MaxStates = 140_000;

    // Only a search of the whole cluster can count its replicas.
    private readonly int _wanted = basePrefill > 0 || baseDecode > 0 ? 1 : problem.Options.MinimumReplicasPerPhase;
    private int _labelCount;
    private int _mixedGroups;

    /// <summary>
    /// Searches, or gives null where there are too many states. <paramref name="basePrefill"/> and <paramref name="baseDecode"/> are rates of replicas outside the problem, which
    /// count in the capacity.
    /// </summary>
    public static SearchOutcome? TryRun(
        PlanningProblem problem, IGroupRates rates, IProgress<PlanningProgress>? progress, CancellationToken cancellation,
        double basePrefill = 0, double baseDecode = 0, int maxStates = MaxStates, PatternTable? known = null)
    {
        var states = ClassStates.TryCreate(Array.ConvertAll(problem.Classes, item => item.Devices.Length), maxStates);
        if (states is null)
        {
            return null;
        }

        // Optimistic rates of the groups taken are corrected, and the search repeated, until all are real; those of other groups are still no less than real.
        bool last = problem.LinksUniform;
        while (true)
        {
            var search = new ExactSearch(problem, rates, states, basePrefill, baseDecode) { _mixedGroups = last ? MaxMixedGroups : MixedGroupsAtFirst };
            SearchOutcome outcome = search.Run(progress, known, cancellation);
            bool real = true;
            foreach (GroupPick pick in outcome.Groups)
            {
                real &= rates.Confirm(pick);
            }

            if (real && last)
            {
                return outcome;
            }

            last = real;
        }
    }

    /// <summary>The groups of a problem for several searches of it; null where they change as rates are corrected, or are too many.</summary>
    public static PatternTable? Table(PlanningProblem problem, IGroupRates rates, int maxStates, CancellationToken cancellation) => problem.LinksUniform
        && ClassStates.TryCreate(Array.ConvertAll(problem.Classes, item => item.Devices.Length), maxStates) is { } states
            ? PatternTable.Build(states, rates, problem.MaxStageCount, null, cancellation) : null;

    private SearchOutcome Run(IProgress<PlanningProgress>? progress, PatternTable? known, CancellationToken cancellation)
    {
        PatternTable table = known ?? PatternTable.Build(
            states, rates, problem.MaxStageCount, done => progress?.Report(new PlanningProgress("groups", done, 0, double.PositiveInfinity)), cancellation);
        int all = states.Count - 1;
        List<WeightedPartition> weights = CuttingPlanes(table, all, cancellation);
        WeightedPartition[] bounds = [.. weights.OrderBy(item => item.Value[all] + Base(item)).Take(WeightsAtOnce)];
        double relaxed = bounds[0].Value[all] + Base(bounds[0]), value = _wanted <= 1 ? Math.Min(basePrefill, baseDecode) : 0;
        var groups = new List<Pattern>();
        foreach (WeightedPartition weight in weights)
        {
            List<Pattern> candidate = weight.Groups(all);
            double capacity = Enough(candidate) ? Capacity(candidate) : 0;
            if (capacity > value)
            {
                (value, groups) = (capacity, candidate);
            }
        }

        progress?.Report(new PlanningProgress("roles", 0, value, relaxed));
        var search = new LabelSearch(states, table, bounds, _wanted);
        (double best, List<Pattern>? found, bool complete) = search.Run(
            all, value, (prefill, decode) => Math.Min(basePrefill + prefill, baseDecode + decode), Array.ConvertAll(bounds, Base), MaxLabels, cancellation);
        _labelCount = search.LabelCount;
        (value, groups) = (best, found ?? groups);
        double bound = complete ? value : relaxed;
        List<GroupPick> picks = [.. groups.Select(Pick)];
        if (problem.Options.AllowMixed)
        {
            (picks, value, bound) = WithMixed(table, weights, picks, value, bound, progress, cancellation);
        }

        int patterns = table.ByLowest.Sum(list => list.Length);
        string tried = $"{states.Count} multisets of {problem.Classes.Length} device classes, {patterns} irreducible groups, "
            + $"{weights.Count} weights, {_labelCount} partial plans{(complete ? "" : " (stopped)")}";
        return new SearchOutcome(picks, value, Math.Max(bound, value), tried);
    }

    private bool Enough(List<Pattern> groups) => _wanted <= 1 || (groups.Count(item => item.IsPrefill) >= _wanted && groups.Count(item => !item.IsPrefill) >= _wanted);

    private double Base(WeightedPartition weight) => (weight.Weight * basePrefill) + ((1 - weight.Weight) * baseDecode);

    /// <summary>Smaller of total prefill and total decode rate.</summary>
    private double Capacity(List<Pattern> groups)
    {
        double prefill = basePrefill, decode = baseDecode;
        foreach (Pattern pattern in groups)
        {
            prefill += pattern.IsPrefill ? pattern.Choice.Rate : 0;
            decode += pattern.IsPrefill ? 0 : pattern.Choice.Rate;
        }

        return Math.Min(prefill, decode);
    }

    // V(all) is convex and piecewise linear in the weight; each solved weight gives a line below it (Kelley's method).
    private List<WeightedPartition> CuttingPlanes(PatternTable table, int all, CancellationToken cancellation)
    {
        var solved = new List<WeightedPartition>();
        var lines = new List<(double Prefill, double Decode)> 
        {
            (basePrefill + table.Prefill[all], baseDecode), (basePrefill, baseDecode + table.Decode[all]),
        };
        for (int round = 0; round < 24; round++)
        {
            (double weight, double lower) = WeightedPartition.LowestOfLines(lines);
            var partition = new WeightedPartition(states, table, weight, cancellation);
            solved.Add(partition);
            if (partition.Value[all] + Base(partition) <= lower * (1 + 1e-9) || double.IsNaN(lower))
            {
                break;
            }

            double prefill = basePrefill, decode = baseDecode;
            foreach (Pattern pattern in partition.Groups(all))
            {
                prefill += pattern.IsPrefill ? pattern.Choice.Rate : 0;
                decode += pattern.IsPrefill ? 0 : pattern.Choice.Rate;
            }

            lines.Add((prefill, decode));
        }

        return solved;
    }

    private (List<GroupPick> Picks, double Value, double Bound) WithMixed(
        PatternTable table, List<WeightedPartition> weights, List<GroupPick> picks, double value, double bound,
        IProgress<PlanningProgress>? progress, CancellationToken cancellation)
    {
        int all = states.Count - 1;
        double slow = problem.Options.MixedSlowdown, unresolved = 0;

        bool tight = states.Count <= MostTight;

        // What a plan with one mixed group of these limits reaches under one weight: the devices left as that weight likes them.
        double Reach(WeightedPartition weight, int state, MixedLimits limits) =>
            Base(weight) + weight.Value[all - state] + MixedRoles.Weighted(weight.Weight, limits.Prefill, limits.Decode, slow, limits.Passes);
        double Least(int state, MixedLimits limits)
        {
            double least = double.PositiveInfinity;
            foreach (WeightedPartition weight in weights)
            {
                least = Math.Min(least, Reach(weight, state, limits));
            }

            return least;
        }

        // Time can be shifted between two mixed replicas until one is pure, which is no worse, unless ports limit pure ones more: prompts of a mixed one stay where they are.
        bool Replaceable(int state, MixedLimits item) => item.Passes * slow >= Math.Max(item.Prefill, item.Decode)
            && table.Prefill[state] * slow >= item.Prefill && table.Decode[state] * slow >= item.Decode;
        var counts = new int[states.ClassCount];
        var limits = new MixedLimits[all + 1];
        bool provable = true;
        for (int state = 1; state <= all; state++)
        {
            limits[state] = new MixedLimits(table.Prefill[state], table.Decode[state], double.PositiveInfinity);
            if (rates.PortFree.PortsMatter)
            {
                states.Counts(state, counts);
                limits[state] = rates.LimitsOfMixed(state, counts, false);
                if (!Replaceable(state, limits[state]))
                {
                    limits[state] = tight ? rates.LimitsOfMixed(state, counts, true) : limits[state];
                    provable &= Replaceable(state, limits[state]);
                }
            }
        }

        // Several mixed replicas may be better than the one that is searched then: the bound is theirs.
        double several = double.PositiveInfinity;
        foreach (WeightedPartition weight in provable ? [] : weights.OrderBy(item => item.Value[all] + Base(item)).Take(WeightsAtOnce))
        {
            var with = new WeightedPartition(states, table, weight.Weight, cancellation, (state, _) =>
                MixedRoles.Weighted(weight.Weight, limits[state].Prefill, limits[state].Decode, slow, limits[state].Passes));
            several = Math.Min(several, with.Value[all] + Base(weight));
        }

        var candidates = new List<(double Bound, double Likely, int State)>();
        for (int state = 1; state <= all; state++)
        {
            double best = Least(state, limits[state]);
            if (best > value * (1 + 1e-11))
            {
                candidates.Add((best, tight ? best : Least(state, new MixedLimits(table.Prefill[state], table.Decode[state], limits[state].Passes)), state));
            }
        }

        candidates.Sort((x, y) => x.Likely != y.Likely ? y.Likely.CompareTo(x.Likely) : x.State.CompareTo(y.State));
        int examined = 0, spent = 0;
        foreach ((double optimistic, double _, int state) in candidates)
        {
            if (optimistic <= value * (1 + 1e-11))
            {
                continue;
            }

            if (examined++ >= _mixedGroups || spent > MaxLabels / 4)
            {
                unresolved = Math.Max(unresolved, optimistic);
                continue;
            }

            cancellation.ThrowIfCancellationRequested();
            progress?.Report(new PlanningProgress("mixed roles", Math.Min(1, (double)examined / Math.Min(_mixedGroups, candidates.Count)), value, Math.Max(bound, optimistic)));
            states.Counts(state, counts);
            double target = value * (1 + 1e-11);
            var choices = new List<MixedChoice>();
            rates.Mixed(state, counts, provable, item => Least(state, item) > target, choices);
            if (choices.Count == 0)
            {
                unresolved = rates.MixedIsExact ? unresolved : Math.Max(unresolved, optimistic);
                continue;
            }

            var reached = new MixedLimits(choices.Max(item => item.PrefillRate), choices.Max(item => item.DecodeRate), choices.Max(item => item.Passes));
            double reach = rates.MixedIsExact ? Least(state, reached) : optimistic;
            WeightedPartition[] tightest = [.. weights.OrderBy(weight => Reach(weight, state, reached)).Take(WeightsAtOnce)];
            double[] extra = Array.ConvertAll(tightest, weight => Reach(weight, state, reached) - weight.Value[all - state]);
            var search = new LabelSearch(states, table, tightest, _wanted);
            (double best, List<Pattern>? found, bool complete) = search.Run(
                all - state, value, (prefill, decode) => MixedRoles.Best(choices, basePrefill + prefill, baseDecode + decode, slow).Value, extra, MaxLabels / 16, cancellation, 1);
            _labelCount += search.LabelCount;
            spent += search.LabelCount;
            unresolved = complete && rates.MixedIsExact ? unresolved : Math.Max(unresolved, reach);
            if (found is not null)
            {
                value = best;
                double prefill = basePrefill + found.Sum(item => item.IsPrefill ? item.Choice.Rate : 0);
                double decode = baseDecode + found.Sum(item => item.IsPrefill ? 0 : item.Choice.Rate);
                (double _, MixedChoice choice, double share) = MixedRoles.Best(choices, prefill, decode, slow);
                picks = [.. found.Select(Pick)];
                picks.Add(new GroupPick(state, [.. counts], ReplicaRole.Mixed, choice.Split, choice, share));
            }
        }

        // A bound of pure plans below the value bounds nothing any more.
        return (picks, value, Math.Max(value, provable ? Math.Max(bound, unresolved) : several));
    }

    private GroupPick Pick(Pattern pattern)
    {
        var counts = new int[states.ClassCount];
        states.Counts(pattern.State, counts);
        return new GroupPick(pattern.State, counts, pattern.IsPrefill ? ReplicaRole.Prefill : ReplicaRole.Decode, pattern.Choice, default, pattern.IsPrefill ? 1 : 0);
    }
}
