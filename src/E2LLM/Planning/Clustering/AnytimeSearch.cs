using E2LLM.Deployment;

namespace E2LLM.Planning.Clustering;

/// <summary>
/// For clusters with too many device classes to search whole. Start: the devices are cut into small sub-clusters, each solved exactly for the weight at which prefill and decode
/// balance over all (Lagrangian decomposition), and, where a replica needs more devices than that, groups grown until they hold the model. Then large-neighbourhood
/// search: a few replicas and idle devices are taken out and planned anew, exactly, for the capacity of the whole. Seeded; the work is fixed unless a time budget is given.
/// </summary>
internal sealed class AnytimeSearch(PlanningProblem problem, PlanAssembler assembler, IProgress<PlanningProgress>? progress, CancellationToken cancellation)
{
    private const int MaxPartStates = 1024;
    private readonly SplitMix random = new(problem.Options.Seed);
    private readonly int partSize = problem.LinksUniform ? 8 : 6;
    private readonly long started = problem.Options.TimeProvider.GetTimestamp();

    /// <summary>A replica with what it adds to each phase.</summary>
    private sealed record Served(ReplicaDraft Draft, double Prefill, double Decode);

    /// <summary>What was done, in words.</summary>
    public string Tried { get; private set; } = "";

    public (List<ReplicaDraft> Drafts, double Value) Run(double bound)
    {
        List<Served> best = Start();
        if (best.Count == 0)
        {
            best = Grown();
        }

        double value = Capacity(best);
        int rounds = Math.Min(1500, 100 + (4 * problem.Devices.Length)), improved = 0, done = 0;
        for (; done < rounds && value < bound * (1 - 1e-9) && !OutOfTime(); done++)
        {
            cancellation.ThrowIfCancellationRequested();
            if ((done & 15) == 0)
            {
                progress?.Report(new PlanningProgress("large neighbourhoods", (double)done / rounds, value, bound));
            }

            if (Improve(best, ref value))
            {
                improved++;
            }
        }

        if (problem.Options.AllowMixed)
        {
            Mix(best, ref value);
        }

        Tried = $"{done} neighbourhoods of up to {partSize} devices, each solved exactly, {improved} of them improved the plan";
        return ([.. best.Select(item => item.Draft)], value);
    }

    private bool OutOfTime() => problem.Options.TimeBudget is { } budget
        && problem.Options.TimeProvider.GetElapsedTime(started) > budget;

    private static double Capacity(List<Served> served)
    {
        double prefill = 0, decode = 0;
        foreach (Served item in served)
        {
            prefill += item.Prefill;
            decode += item.Decode;
        }

        return Math.Min(prefill, decode);
    }

    // Sub-clusters that mix large and small devices: dealt out like cards from the canonical order.
    private List<Served> Start()
    {
        int parts = Math.Max(1, (problem.Devices.Length + partSize - 1) / partSize);
        var hands = new List<int>[parts];
        for (int i = 0; i < parts; i++)
        {
            hands[i] = [];
        }

        for (int i = 0; i < problem.Devices.Length; i++)
        {
            hands[i % parts].Add(problem.Devices[i]);
        }

        var best = new List<Served>();
        double prefill = 0, decode = 0;
        for (int i = 0; i < parts && !OutOfTime(); i++)
        {
            cancellation.ThrowIfCancellationRequested();
            progress?.Report(new PlanningProgress("sub-clusters", (double)i / parts, Math.Min(prefill, decode), double.PositiveInfinity));
            foreach (Served item in Solve(hands[i], prefill, decode, false))
            {
                best.Add(item);
                prefill += item.Prefill;
                decode += item.Decode;
            }
        }

        return best;
    }

    // Where no small sub-cluster holds the model: groups grown from the largest devices until one does.
    private List<Served> Grown()
    {
        var best = new List<Served>();
        int[] order = [.. problem.Devices];
        Array.Sort(Array.ConvertAll(order, device => -problem.Cluster.Devices[device].MemoryBytes), order);
        var group = new List<int>();
        double prefill = 0, decode = 0;
        foreach (int device in order)
        {
            cancellation.ThrowIfCancellationRequested();
            group.Add(device);
            if (group.Count > problem.MaxStageCount)
            {
                break;
            }

            var part = new PlanningProblem(problem, group, false);
            var rates = new GroupRates(part);
            int[] counts = Array.ConvertAll(part.Classes, item => item.Devices.Length);
            bool wantsPrefill = prefill <= decode;
            RoleChoice choice = wantsPrefill ? rates.Prefill(0, counts, 0) : rates.Decode(0, counts, 0);
            if (choice.Rate > 0)
            {
                var pick = new GroupPick(0, counts, wantsPrefill ? ReplicaRole.Prefill : ReplicaRole.Decode, choice, default, wantsPrefill ? 1 : 0);
                Served item = Serve(new PlanAssembler(part).Drafts([pick], rates)[0]);
                best.Add(item);
                prefill += item.Prefill;
                decode += item.Decode;
                group.Clear();
            }
        }

        if (best.Count == 1)
        {
            return SingleMixed(order) is { } mixed ? [mixed] : [];
        }

        return decode > 0 ? best : [];
    }

    private Served? SingleMixed(int[] order)
    {
        for (int count = 1; problem.Options.AllowMixed && count <= Math.Min(order.Length, problem.MaxStageCount); count++)
        {
            var part = new PlanningProblem(problem, order[..count], true);
            var rates = new GroupRates(part);
            int[] counts = Array.ConvertAll(part.Classes, item => item.Devices.Length);
            List<MixedChoice> choices = rates.Mixed(0, counts, out double _, out double _);
            if (choices.Count > 0)
            {
                (double _, MixedChoice choice, double share) = MixedRoles.Best(choices, 0, 0, problem.Options.MixedSlowdown);
                return Serve(new PlanAssembler(part).Drafts([new GroupPick(0, counts, ReplicaRole.Mixed, choice.Split, choice, share)], rates)[0]);
            }
        }

        return null;
    }

    private Served Serve(ReplicaDraft draft)
    {
        ReplicaPlan replica = assembler.Replica(draft);
        (double prefill, double decode) = assembler.Evaluator.Shares(replica, assembler.Evaluator.Evaluate(replica));
        return new Served(draft, prefill, decode);
    }

    private List<Served> Solve(List<int> devices, double prefill, double decode, bool mixed)
    {
        var part = new PlanningProblem(problem, devices, mixed);
        IGroupRates rates = part.LinksUniform ? new GroupRates(part) : new LinkAwareRates(part, cancellation);
        SearchOutcome? outcome = ExactSearch.TryRun(part, rates, null, cancellation, prefill, decode, MaxPartStates);
        return outcome is null ? [] : [.. new PlanAssembler(part).Drafts(outcome.Groups, rates).Select(Serve)];
    }

    private bool Improve(List<Served> best, ref double value)
    {
        (List<Served> kept, List<int> freed) = TakeOut(best, partSize);
        if (freed.Count == 0)
        {
            return false;
        }

        double prefill = kept.Sum(item => item.Prefill), decode = kept.Sum(item => item.Decode);
        List<Served> anew = Solve(freed, prefill, decode, false);
        double changed = Math.Min(prefill + anew.Sum(item => item.Prefill), decode + anew.Sum(item => item.Decode));
        if (changed < value)
        {
            return false;
        }

        bool better = changed > value * (1 + 1e-12);
        value = changed;
        best.Clear();
        best.AddRange(kept);
        best.AddRange(anew);
        return better;
    }

    private (List<Served> Kept, List<int> Freed) TakeOut(List<Served> best, int most)
    {
        var kept = new List<Served>(best);
        var freed = new List<int>();
        int[] order = [.. Enumerable.Range(0, best.Count)];
        random.Shuffle(order);
        foreach (int i in order)
        {
            if (freed.Count + best[i].Draft.Devices.Length <= most)
            {
                freed.AddRange(best[i].Draft.Devices);
                kept.Remove(best[i]);
            }
        }

        var used = new HashSet<int>(best.SelectMany(item => item.Draft.Devices));
        int[] idle = [.. problem.Devices.Where(device => !used.Contains(device))];
        random.Shuffle(idle);
        foreach (int device in idle)
        {
            if (freed.Count < most + 2)
            {
                freed.Add(device);
            }
        }

        freed.Sort();
        return (kept, freed);
    }

    // One mixed replica evens out what whole replicas cannot; a few places for it are tried.
    private void Mix(List<Served> best, ref double value)
    {
        for (int attempt = 0; attempt < 6 && !OutOfTime(); attempt++)
        {
            (List<Served> kept, List<int> freed) = TakeOut(best, Math.Min(partSize, 6));
            double prefill = kept.Sum(item => item.Prefill), decode = kept.Sum(item => item.Decode);
            if (freed.Count == 0 || kept.Any(item => item.Draft.Role == ReplicaRole.Mixed))
            {
                continue;
            }

            List<Served> anew = Solve(freed, prefill, decode, true);
            double changed = Math.Min(prefill + anew.Sum(item => item.Prefill), decode + anew.Sum(item => item.Decode));
            if (changed > value)
            {
                value = changed;
                best.Clear();
                best.AddRange(kept);
                best.AddRange(anew);
            }
        }
    }
}
