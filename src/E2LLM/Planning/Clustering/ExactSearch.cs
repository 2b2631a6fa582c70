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
    private const int MaxMixedGroups = 64;

    /// <summary>Most states that are searched exhaustively.</summary>
    public const int MaxStates = 140_000;

    // Only a search of the whole cluster can count its replicas.
    private readonly int wanted = basePrefill > 0 || baseDecode > 0 ? 1 : problem.Options.MinimumReplicasPerPhase;
    private int labelCount;

    /// <summary>
    /// Searches, or gives null where there are too many states. <paramref name="basePrefill"/> and <paramref name="baseDecode"/> are rates of replicas outside the problem, which
    /// count in the capacity.
    /// </summary>
    public static SearchOutcome? TryRun(
        PlanningProblem problem, IGroupRates rates, IProgress<PlanningProgress>? progress, CancellationToken cancellation,
        double basePrefill = 0, double baseDecode = 0, int maxStates = MaxStates)
    {
        var states = ClassStates.TryCreate(Array.ConvertAll(problem.Classes, item => item.Devices.Length), maxStates);
        if (states is null)
        {
            return null;
        }

        // Optimistic rates of the groups that were taken are corrected, and the search repeated, until all are real. What it then finds is best, and its
        // bound holds, since the rates of all other groups are still no less than the real ones.
        while (true)
        {
            SearchOutcome outcome = new ExactSearch(problem, rates, states, basePrefill, baseDecode).Run(progress, cancellation);
            bool real = true;
            foreach (GroupPick pick in outcome.Groups)
            {
                real &= rates.Confirm(pick);
            }

            if (real)
            {
                return outcome;
            }
        }
    }

    public SearchOutcome Run(IProgress<PlanningProgress>? progress, CancellationToken cancellation)
    {
        PatternTable table = PatternTable.Build(
            states, rates, problem.MaxStageCount, done => progress?.Report(new PlanningProgress("groups", done, 0, double.PositiveInfinity)), cancellation);
        int all = states.Count - 1;
        List<WeightedPartition> weights = CuttingPlanes(table, all, cancellation);
        WeightedPartition[] bounds = [.. weights.OrderBy(item => item.Value[all] + Base(item)).Take(3)];
        double relaxed = bounds[0].Value[all] + Base(bounds[0]), value = wanted <= 1 ? Math.Min(basePrefill, baseDecode) : 0;
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
        var search = new LabelSearch(states, table, bounds, wanted);
        (double best, List<Pattern>? found, bool complete) = search.Run(
            all, value, (prefill, decode) => Math.Min(basePrefill + prefill, baseDecode + decode), Array.ConvertAll(bounds, Base), MaxLabels, cancellation);
        labelCount = search.LabelCount;
        (value, groups) = (best, found ?? groups);
        double bound = complete ? value : relaxed;
        List<GroupPick> picks = [.. groups.Select(Pick)];
        if (problem.Options.AllowMixed)
        {
            (picks, value, bound) = WithMixed(table, bounds, picks, value, bound, progress, cancellation);
        }

        int patterns = table.ByLowest.Sum(list => list.Length);
        string tried = $"{states.Count} multisets of {problem.Classes.Length} device classes, {patterns} irreducible groups, "
            + $"{weights.Count} weights, {labelCount} partial plans{(complete ? "" : " (stopped)")}";
        return new SearchOutcome(picks, value, Math.Max(bound, value), tried);
    }

    private bool Enough(List<Pattern> groups) => wanted <= 1
        || (groups.Count(item => item.IsPrefill) >= wanted && groups.Count(item => !item.IsPrefill) >= wanted);

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
            (double weight, double lower) = LowestOfLines(lines);
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

    private static (double Weight, double Value) LowestOfLines(List<(double Prefill, double Decode)> lines)
    {
        double bestWeight = 0.5, best = double.PositiveInfinity;
        void Try(double weight)
        {
            double value = 0;
            foreach ((double prefill, double decode) in lines)
            {
                value = Math.Max(value, (weight * prefill) + ((1 - weight) * decode));
            }

            if (value < best)
            {
                (bestWeight, best) = (weight, value);
            }
        }

        for (int i = 0; i < lines.Count; i++)
        {
            for (int j = 0; j < i; j++)
            {
                double slope = lines[i].Prefill - lines[i].Decode - lines[j].Prefill + lines[j].Decode;
                double weight = slope == 0 ? 0.5 : (lines[j].Decode - lines[i].Decode) / slope;
                Try(Math.Clamp(double.IsFinite(weight) ? weight : 0.5, 0, 1));
            }
        }

        return (bestWeight, best);
    }

    private (List<GroupPick> Picks, double Value, double Bound) WithMixed(
        PatternTable table, WeightedPartition[] bounds, List<GroupPick> picks, double value, double bound,
        IProgress<PlanningProgress>? progress, CancellationToken cancellation)
    {
        int all = states.Count - 1;
        double slow = problem.Options.MixedSlowdown, unresolved = 0;
        var candidates = new List<(double Bound, int State)>();
        for (int state = 1; state <= all; state++)
        {
            double best = double.PositiveInfinity;
            foreach (WeightedPartition weight in bounds)
            {
                best = Math.Min(best, Base(weight) + weight.Value[all - state]
                    + (Math.Max(weight.Weight * table.Prefill[state], (1 - weight.Weight) * table.Decode[state]) / slow));
            }

            if (best > value * (1 + 1e-11))
            {
                candidates.Add((best, state));
            }
        }

        candidates.Sort((x, y) => x.Bound != y.Bound ? y.Bound.CompareTo(x.Bound) : x.State.CompareTo(y.State));
        var counts = new int[states.ClassCount];
        int examined = 0;
        foreach ((double optimistic, int state) in candidates)
        {
            if (optimistic <= value * (1 + 1e-11))
            {
                break;
            }

            if (examined++ >= MaxMixedGroups)
            {
                unresolved = Math.Max(unresolved, optimistic);
                break;
            }

            cancellation.ThrowIfCancellationRequested();
            progress?.Report(new PlanningProgress("mixed roles", (double)examined / MaxMixedGroups, value, Math.Max(bound, optimistic)));
            states.Counts(state, counts);
            List<MixedChoice> choices = rates.Mixed(state, counts, out double bestPrefill, out double bestDecode);
            double[] extra = Array.ConvertAll(
                bounds, weight => Base(weight) + (Math.Max(weight.Weight * bestPrefill, (1 - weight.Weight) * bestDecode) / slow));
            double reach = double.PositiveInfinity;
            for (int i = 0; i < bounds.Length; i++)
            {
                reach = Math.Min(reach, bounds[i].Value[all - state] + extra[i]);
            }

            if (reach <= value * (1 + 1e-11) || choices.Count == 0)
            {
                continue;
            }

            unresolved = Math.Max(unresolved, reach);
            var search = new LabelSearch(states, table, bounds, wanted);
            (double best, List<Pattern>? found, bool _) = search.Run(
                all - state, value, (prefill, decode) => MixedRoles.Best(choices, basePrefill + prefill, baseDecode + decode, slow).Value, extra, MaxLabels / 16, cancellation, 1);
            labelCount += search.LabelCount;
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

        return (picks, value, Math.Max(bound, unresolved));
    }

    private GroupPick Pick(Pattern pattern)
    {
        var counts = new int[states.ClassCount];
        states.Counts(pattern.State, counts);
        return new GroupPick(pattern.State, counts, pattern.IsPrefill ? ReplicaRole.Prefill : ReplicaRole.Decode, pattern.Choice, default, pattern.IsPrefill ? 1 : 0);
    }
}
