using E2LLM.Deployment;

namespace E2LLM.Planning.Clustering;

/// <summary>
/// For clusters with too many device classes to search whole. Start: every class is dealt out evenly over sub-clusters as large as can be solved exactly, one after the other, each for the balance of prefill and
/// decode that those before it left; alike sub-clusters of few classes so give the exact class solution many times over. Where a replica needs more devices than that, groups
/// are grown until they hold the model. Then large-neighbourhood search: a few replicas and idle devices are taken out and planned anew, exactly, for the
/// capacity of the whole. Seeded; the work is fixed unless a time budget is given.
/// </summary>
internal sealed partial class AnytimeSearch(PlanningProblem problem, PlanAssembler assembler, IProgress<PlanningProgress>? progress, CancellationToken cancellation)
{
    // Multisets of devices that are searched at once: 10 devices that all differ, or many of few classes.
    private const int MaxPartStates = 1024, NeighbourhoodStates = 256;

    // Where links differ every order counts, so fewer devices.
    private const int MostLinked = 6;

    // Replicas in a row that do not fit a neighbourhood any more.
    private const int MostMisses = 8;
    private readonly SplitMix _random = new(problem.Options.Seed);
    private readonly int[] _classOf = ClassOf(problem);
    private int _largest;
    private readonly long _started = problem.Options.TimeProvider.GetTimestamp();

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

        Tried = $"{done} neighbourhoods of up to {_largest} devices, each solved exactly, {improved} of them improved the plan";
        return ([.. best.Select(item => item.Draft)], value);
    }

    private bool OutOfTime() => problem.Options.TimeBudget is { } budget
        && problem.Options.TimeProvider.GetElapsedTime(_started) > budget;

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

    // Whether these devices can be planned exactly in short time.
    private bool IsSmall(IEnumerable<int> devices, int mostStates)
    {
        var counts = new Dictionary<int, int>();
        int count = 0;
        foreach (int device in devices)
        {
            counts[_classOf[device]] = counts.GetValueOrDefault(_classOf[device]) + 1;
            count++;
        }

        long states = 1;
        foreach (int alike in counts.Values)
        {
            states = Math.Min(int.MaxValue, states * (alike + 1));
        }

        return problem.LinksUniform ? states <= mostStates && counts.Count < 32 : count <= MostLinked;
    }

    private static int[] ClassOf(PlanningProblem problem)
    {
        var classOf = new int[problem.Cluster.Devices.Count];
        for (int k = 0; k < problem.Classes.Length; k++)
        {
            foreach (int device in problem.Classes[k].Devices)
            {
                classOf[device] = k;
            }
        }

        return classOf;
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
        (List<Served> kept, List<int> freed) = TakeOut(best, NeighbourhoodStates);
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

    private (List<Served> Kept, List<int> Freed) TakeOut(List<Served> best, int mostStates)
    {
        var kept = new List<Served>(best);
        var freed = new List<int>();
        int[] order = [.. Enumerable.Range(0, best.Count)];
        _random.Shuffle(order);
        int full = 0;
        foreach (int i in order)
        {
            if (IsSmall(freed.Concat(best[i].Draft.Devices), mostStates))
            {
                freed.AddRange(best[i].Draft.Devices);
                kept.Remove(best[i]);
                full = 0;
            }
            else if (++full == MostMisses)
            {
                break;
            }
        }

        var used = new HashSet<int>(best.SelectMany(item => item.Draft.Devices));
        int[] idle = [.. problem.Devices.Where(device => !used.Contains(device))];
        _random.Shuffle(idle);
        foreach (int device in idle)
        {
            if (IsSmall(freed.Append(device), mostStates * 4))
            {
                freed.Add(device);
            }
        }

        freed.Sort();
        _largest = Math.Max(_largest, freed.Count);
        return (kept, freed);
    }

    // One mixed replica evens out what whole replicas cannot; a few places for it are tried.
    private void Mix(List<Served> best, ref double value)
    {
        for (int attempt = 0; attempt < 6 && !OutOfTime(); attempt++)
        {
            (List<Served> kept, List<int> freed) = TakeOut(best, NeighbourhoodStates / 4);
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
