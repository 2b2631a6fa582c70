using E2LLM.Deployment;

namespace E2LLM.Planning.Clustering;

/// <summary>
/// The outer search of E2LLM (arXiv 2606.03770, Algorithm 2), rebuilt from its description for comparison: chromosomes are an order of all devices and a list of replica sizes;
/// crossover with repair, 30 % mutated by one of four mutations, the best kept; fitness by the inner split of every replica and brute force over roles and concurrency. The paper
/// gives neither population nor generations. Groups seen before are not split again, which is kinder to its speed than the paper asks. Not thread-safe.
/// </summary>
internal sealed class GeneticSearch(PlanningProblem problem, GroupRates rates, CancellationToken cancellation)
{
    private const double MutationShare = 0.3;
    private const double EliteShare = 0.2;
    private const int MostBruteForced = 14;
    private readonly SplitMix _random = new(problem.Options.Seed);
    private readonly Dictionary<string, (RoleChoice Prefill, RoleChoice Decode)> _known = [];
    private readonly int[] _classOf = ClassOf(problem);

    private sealed record Individual(int[] Order, int[] Sizes, double Value, IReadOnlyList<GroupPick> Groups);

    /// <summary>Told every time a better individual appears: its capacity.</summary>
    public Action<double>? Improved { get; init; }

    /// <summary>Groups that were split.</summary>
    public int SplitCount => _known.Count;

    public (IReadOnlyList<GroupPick> Groups, double Value) Run(IProgress<PlanningProgress>? progress)
    {
        int size = problem.Options.GeneticPopulation, elite = Math.Max(1, (int)(EliteShare * size));
        var population = new List<Individual>();
        for (int i = 0; i < size; i++)
        {
            population.Add(Judge(RandomOrder(), RandomSizes(problem.Devices.Length)));
        }

        double best = 0;
        for (int generation = 0; generation < problem.Options.GeneticGenerations; generation++)
        {
            cancellation.ThrowIfCancellationRequested();
            population.Sort((x, y) => y.Value.CompareTo(x.Value));
            if (population[0].Value > best)
            {
                best = population[0].Value;
                Improved?.Invoke(best);
            }

            progress?.Report(new PlanningProgress("generations", (double)generation / problem.Options.GeneticGenerations, best, double.PositiveInfinity));
            var next = population.GetRange(0, Math.Min(elite, population.Count));
            while (next.Count < size)
            {
                Individual one = population[_random.Next(Math.Max(2, size / 2))], other = population[_random.Next(size)];
                (int[] order, int[] sizes) = Cross(one, other);
                if (_random.NextDouble() < MutationShare)
                {
                    (order, sizes) = Mutate(order, sizes);
                }

                next.Add(Judge(order, sizes));
            }

            population = next;
        }

        population.Sort((x, y) => y.Value.CompareTo(x.Value));
        if (population[0].Value > best)
        {
            Improved?.Invoke(population[0].Value);
        }

        return (population[0].Groups, population[0].Value);
    }

    private static int[] ClassOf(PlanningProblem problem)
    {
        var classes = new List<int>();
        for (int k = 0; k < problem.Classes.Length; k++)
        {
            classes.AddRange(Enumerable.Repeat(k, problem.Classes[k].Devices.Length));
        }

        return [.. classes];
    }

    private int[] RandomOrder()
    {
        int[] order = [.. Enumerable.Range(0, problem.Devices.Length)];
        _random.Shuffle(order);
        return order;
    }

    private int[] RandomSizes(int left)
    {
        var sizes = new List<int>();
        while (left > 0)
        {
            int size = 1 + _random.Next(Math.Min(left, problem.MaxStageCount));
            sizes.Add(size);
            left -= size;
        }

        return [.. sizes];
    }

    // The first half of one order, the rest as the other has it, so that each device appears once; sizes of one up to a random place, then refilled.
    private (int[] Order, int[] Sizes) Cross(Individual one, Individual other)
    {
        int count = one.Order.Length, cut = _random.Next(count + 1);
        var order = new int[count];
        var taken = new bool[count];
        for (int i = 0; i < cut; i++)
        {
            order[i] = one.Order[i];
            taken[order[i]] = true;
        }

        int at = cut;
        foreach (int device in other.Order)
        {
            if (!taken[device])
            {
                order[at++] = device;
            }
        }

        return (order, _random.Next(2) == 0 ? [.. one.Sizes] : [.. other.Sizes]);
    }

    private (int[] Order, int[] Sizes) Mutate(int[] order, int[] sizes)
    {
        switch (_random.Next(4))
        {
            case 0:
                int i = _random.Next(order.Length), j = _random.Next(order.Length);
                (order[i], order[j]) = (order[j], order[i]);
                return (order, sizes);
            case 1:
                int kept = sizes.Length / 2, used = 0;
                for (int g = 0; g < kept; g++)
                {
                    used += sizes[g];
                }

                return (order, [.. sizes[..kept], .. RandomSizes(order.Length - used)]);
            case 2:
                return (order, RandomSizes(order.Length));
            default:
                return (RandomOrder(), RandomSizes(order.Length));
        }
    }

    private Individual Judge(int[] order, int[] sizes)
    {
        var groups = new List<(int[] Counts, RoleChoice Prefill, RoleChoice Decode)>();
        int at = 0;
        foreach (int size in sizes)
        {
            var counts = new int[problem.Classes.Length];
            for (int i = 0; i < size; i++)
            {
                counts[_classOf[order[at++]]]++;
            }

            string key = string.Join(',', counts);
            if (!_known.TryGetValue(key, out (RoleChoice Prefill, RoleChoice Decode) choice))
            {
                _known[key] = choice = (rates.Prefill(0, counts, 0), rates.Decode(0, counts, 0));
            }

            if (choice.Prefill.Rate > 0 || choice.Decode.Rate > 0)
            {
                groups.Add((counts, choice.Prefill, choice.Decode));
            }
        }

        (double value, long roles) = Roles(groups);
        var picks = new List<GroupPick>();
        for (int g = 0; value > 0 && g < groups.Count; g++)
        {
            bool prefill = (roles >> g & 1) == 1;
            RoleChoice choice = prefill ? groups[g].Prefill : groups[g].Decode;
            if (choice.Rate > 0)
            {
                picks.Add(new GroupPick(0, groups[g].Counts, prefill ? ReplicaRole.Prefill : ReplicaRole.Decode, choice, default, prefill ? 1 : 0));
            }
        }

        return new Individual(order, sizes, value, picks);
    }

    private static (double Value, long Roles) Roles(List<(int[] Counts, RoleChoice Prefill, RoleChoice Decode)> groups)
    {
        double best = 0;
        long bestRoles = 0;
        if (groups.Count <= MostBruteForced)
        {
            for (long roles = 0; roles < 1L << groups.Count; roles++)
            {
                double prefill = 0, decode = 0;
                for (int g = 0; g < groups.Count; g++)
                {
                    prefill += (roles >> g & 1) == 1 ? groups[g].Prefill.Rate : 0;
                    decode += (roles >> g & 1) == 1 ? 0 : groups[g].Decode.Rate;
                }

                if (Math.Min(prefill, decode) > best)
                {
                    (best, bestRoles) = (Math.Min(prefill, decode), roles);
                }
            }

            return (best, bestRoles);
        }

        // Too many for brute force: each in turn to the phase that has less.
        double p = 0, d = 0;
        for (int g = 0; g < Math.Min(63, groups.Count); g++)
        {
            if (p <= d)
            {
                p += groups[g].Prefill.Rate;
                bestRoles |= 1L << g;
            }
            else
            {
                d += groups[g].Decode.Rate;
            }
        }

        return (Math.Min(p, d), bestRoles);
    }
}
