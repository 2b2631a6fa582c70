using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;

namespace E2LLM.Simulation.Report;

// The two systems that choose their plan by simulation, B2 and ours: shortlists by static scores, then steps to better neighbours.
internal sealed partial class Systems
{
    private static readonly PlanRule Splitwise = new() { Mixed = false, FastestPrefill = true };

    private static readonly int[] MixedChunks = [16, 32, 64, 128, 256, 512], Chunks = [128, 256, 288, 512, 1024];

    // Runs of so many requests are climbed on as a whole too.
    private const int FewRequests = 1000;

    // Seconds that count as none.
    private const double Tie = 5e-4;

    private IReadOnlyList<SimulatedRequest> Sample => requests.Count > sampleCount ? [.. requests.Take(sampleCount)] : requests;

    /// <summary>
    /// B2: everything of ours, mixed pool too, but every prefill replica at least as fast as every decode replica. The best of end-to-end plus waiting, from a shortlist and from
    /// there step by step.
    /// </summary>
    public SystemUnderTest? StrongSplitwise()
    {
        if (_strong is null && Simulated(B2, Shortlist(_full, Splitwise, B2), Policies) is { Count: > 0 } ranked)
        {
            _strong = Climb(Beginnings(ranked, r => (0, 0, r.Value)), r => (0, 0, r.Value), _full.ObeysFastestPrefill).System;
        }

        return _strong;
    }

    /// <summary>
    /// Ours: the free space, replicas of both phases included, and everything that B2 and E2LLM may choose, their own choices among it, and what is found from there step by
    /// step. Wanted is <see cref="Excess"/>.
    /// </summary>
    public SystemUnderTest? Own()
    {
        List<SystemUnderTest> rivals = [.. PublishedSeeds().Select(s => s.System).DistinctBy(s => Describe.Plan(s.Plan)), .. new[] { StrongSplitwise() }.OfType<SystemUnderTest>()];
        List<SystemUnderTest> extra = [.. rivals.SelectMany(o => Policies.Prepend(o.Options).Select(p => o with { Options = p }))];
        List<DeploymentPlan> plans = [.. Shortlist(_full, new PlanRule(), Ours), .. Shortlist(_full, new PlanRule { Mixed = false }, Ours), .. Shortlist(_full, new PlanRule { UseAllDevices = true }, Ours)];
        List<Ranked> ranked = Simulated(Ours, [.. plans.DistinctBy(Describe.Plan)], Policies, extra);
        Func<Ranked, (double, double, double)> key = Excess(rivals);
        return ranked.Count == 0 ? null : Climb(Beginnings(ranked, key), key, _ => true).System;
    }

    /// <summary>Ours under a narrower rule, for the ablation: the best of end-to-end plus waiting.</summary>
    public SystemUnderTest? OwnUnder(PlanRule rule) => Simulated(Ours, Shortlist(_full, rule, Ours), Policies).OrderBy(r => r.Value).FirstOrDefault()?.System;

    /// <summary>
    /// The order among our choices: first the seconds by which mean waiting and mean end-to-end exceed what the goals ask for, then the seconds by which they exceed the least of any seed of
    /// E2LLM, then the sum of both means. The goals: neither above B2's or E2LLM's median seed; waiting a fifth below E2LLM's where its plan is loaded to 0.8 to 1.05; half of B0's and
    /// B1's, or theirs where they hardly wait.
    /// </summary>
    private Func<Ranked, (double Goals, double Seeds, double Value)> Excess(List<SystemUnderTest> rivals)
    {
        Ranked[] known = [.. rivals.Select(o => Rank(o, requests))];
        if (known.Length == 0)
        {
            return r => (0, 0, r.Value);
        }

        Ranked[] judges = [.. new[] { PublishedE2llm(), StrongSplitwise() }.OfType<SystemUnderTest>().Select(o => Rank(o, requests))];
        double waiting = judges.Min(r => r.Waiting), endToEnd = judges.Min(r => r.EndToEnd);
        if (PublishedE2llm() is { } median && Rate / median.Plan.Predicted.RequestsPerSecond is >= 0.795 and <= 1.055)
        {
            waiting = Math.Min(waiting, 0.8 * Rank(median, requests).Waiting);
        }

        foreach (SystemUnderTest other in new[] { WholeModelSplitwise(), GreedySplitwise() }.OfType<SystemUnderTest>())
        {
            // One that hardly waits (1 % of its service) is to be met in that, one that waits is to be halved.
            Ranked r = Rank(other, requests);
            bool waits = r.Waiting > 0.01 * (r.EndToEnd - r.Waiting);
            waiting = Math.Min(waiting, waits ? r.Waiting / 2 : Math.Max(r.Waiting, 0.01 * endToEnd));
        }

        double Over(Ranked r, double least, double soonest) => Math.Max(0, r.Waiting - least - Tie) + Math.Max(0, r.EndToEnd - soonest - Tie);
        double anyWaiting = known.Min(r => r.Waiting), anyEndToEnd = known.Min(r => r.EndToEnd);
        return r => (Over(r, waiting, endToEnd), Over(r, anyWaiting, anyEndToEnd), r.Value);
    }

    // The best by the order wanted and a few by each of its parts, the same devices in the same groups once: different beginnings find different ends.
    private List<Ranked> Beginnings(List<Ranked> ranked, Func<Ranked, (double, double, double)> key)
    {
        IEnumerable<Ranked> Few(Func<Ranked, double> part, int count) => ranked.OrderBy(part).DistinctBy(r => Grouping(r.System.Plan)).Take(count);
        return [.. ranked.OrderBy(key).DistinctBy(r => Grouping(r.System.Plan)).Take(starts).Concat(Few(r => r.Value, (starts + 7) / 8)).Concat(Few(r => r.Waiting, (starts + 7) / 8)).Concat(Few(r => r.EndToEnd, (starts + 7) / 8)).Distinct()];

        static string Grouping(DeploymentPlan plan) => string.Join(';', plan.Replicas.Select(r => $"{r.Role}{string.Join(',', r.Stages.Select(stage => stage.Device))}").Order(StringComparer.Ordinal));
    }

    // From each start to better neighbours, plans and policies in turn, until none is better; what was met before is not simulated again. On a sample where there are many
    // requests, and then, from the best end, on all of them.
    private Ranked Climb(IEnumerable<Ranked> starts, Func<Ranked, (double, double, double)> key, Func<DeploymentPlan, bool> allowed)
    {
        Ranked[] first = [.. starts];
        if (requests.Count == Sample.Count)
        {
            var known = new Dictionary<(string, SimulationOptions), Ranked>();
            return Polish(first.Select(start => Descend(start, requests, key, allowed, rounds, known)).MinBy(key)!, requests, key, allowed, known);
        }

        var sampled = new Dictionary<(string, SimulationOptions), Ranked>();
        Ranked[] ends = [.. first.Select(start => Descend(Rank(start.System, Sample), Sample, key, allowed, rounds, sampled).System).DistinctBy(PolicyKey).Select(system => Rank(system, requests))];

        // The starts stay in the race: what was better on a part may be worse on the whole.
        Ranked best = ends.Concat(first).MinBy(key)!;
        return requests.Count <= FewRequests ? Polish(best, requests, key, allowed, []) : best;
    }

    private Ranked Descend(
        Ranked at, IReadOnlyList<SimulatedRequest> trace, Func<Ranked, (double, double, double)> key, Func<DeploymentPlan, bool> allowed, int most, Dictionary<(string, SimulationOptions), Ranked> known)
    {
        for (int round = 0; round < most; round++)
        {
            IEnumerable<SystemUnderTest> plans = _neighbours.Of(at.System.Plan).DistinctBy(PlanNeighbours.Key).Where(allowed)
                .Select(plan => at.System with { Plan = plan with { Planner = at.System.Name } });
            SimulationOptions now = at.System.Options;
            IEnumerable<SimulationOptions> policies = Policies.Select(p => p with { MixedChunkTokens = now.MixedChunkTokens, ChunkTokens = now.ChunkTokens })
                .Concat(MixedChunks.Select(chunk => now with { MixedChunkTokens = chunk })).Concat(Chunks.Select(chunk => now with { ChunkTokens = chunk }));
            Ranked next = plans.Concat(policies.Select(p => at.System with { Options = p })).Select(system => Known(system, trace, known)).MinBy(key)!;
            if (key(next).CompareTo(key(at)) >= 0)
            {
                break;
            }

            at = next;
        }

        return at;
    }

    private Ranked Known(SystemUnderTest system, IReadOnlyList<SimulatedRequest> trace, Dictionary<(string, SimulationOptions), Ranked> known)
    {
        (string, SimulationOptions) name = PolicyKey(system);
        if (!known.TryGetValue(name, out Ranked? rank))
        {
            known[name] = rank = Rank(system, trace);
        }

        return rank;
    }

    private static (string, SimulationOptions) PolicyKey(SystemUnderTest system) => (PlanNeighbours.Key(system.Plan), system.Options);

    // Static scores find the plans worth simulating: most capacity, fastest alone, and both weighed at this load.
    private List<DeploymentPlan> Shortlist(PlanSpace space, PlanRule rule, string name)
    {
        double Score(Candidate c)
        {
            double load = Math.Min(Rate / c.Capacity, 0.95), excess = Math.Max(0, (1 / c.Capacity) - (1 / Rate)) * requests.Count / 2;
            return (c.ServiceSeconds * (1 + (load * load / (1 - load)))) + excess;
        }

        return [.. space.Best(rule, (shortlist, Score), (shortlist / 4, c => -c.Capacity), (shortlist / 4, c => c.ServiceSeconds))
            .SelectMany(c => c).Select(c => space.Plan(c, name)).DistinctBy(Describe.Plan)];
    }

    // Plans and policies judged by what requests get: a short sample for all, every request for the best few and for those that came as they are.
    private List<Ranked> Simulated(string name, List<DeploymentPlan> plans, SimulationOptions[] policies, List<SystemUnderTest>? extra = null)
    {
        IReadOnlyList<SimulatedRequest> sample = Sample;
        List<Ranked> ranked = [.. plans.Select(plan => Rank(new SystemUnderTest(name, plan with { Planner = name }, policies[0]), sample)),
            .. (extra ?? []).Select(e => Rank(e with { Name = name }, sample))];

        // The best plans meet the other policies; the best of all are tried with fewer decode slots (a shorter batch for a longer queue) and other chunks.
        ranked.AddRange(ranked.OrderBy(r => r.Value).Take(10).ToArray().SelectMany(r => policies.Skip(1).Select(p => Rank(r.System with { Options = p }, sample))));
        ranked.AddRange(ranked.OrderBy(r => r.Value).Take(4).ToArray().SelectMany(r => Variants(r.System)).Select(s => Rank(s, sample)));
        IEnumerable<Ranked> first = ranked.Where(r => double.IsFinite(r.Value)).OrderBy(r => r.Value).Take(requests.Count > sample.Count ? 8 : int.MaxValue);
        if (requests.Count > sample.Count)
        {
            first = first.Concat(ranked.Where(r => double.IsFinite(r.Value)).OrderBy(r => r.Waiting).Take(4)).Concat(ranked.Where(r => extra?.Any(e => ReferenceEquals(e.Plan, r.System.Plan)) ?? false))
                .DistinctBy(r => r.System).Select(r => Rank(r.System, requests));
        }

        return [.. first];
    }

    private sealed record Ranked(SystemUnderTest System, double Waiting, double EndToEnd)
    {
        public double Value => Waiting + EndToEnd;
    }

    private Ranked Rank(SystemUnderTest system, IReadOnlyList<SimulatedRequest> trace)
    {
        ServingReport report = ClusterSimulator.Run(system.Plan, cluster, model, trace, system.Options);
        return report.DroppedCount > 0
            ? new Ranked(system, double.PositiveInfinity, double.PositiveInfinity)
            : new Ranked(system, report.WaitingSeconds.Mean, report.EndToEndSeconds.Mean);
    }

    private static IEnumerable<SystemUnderTest> Variants(SystemUnderTest system)
    {
        foreach (int divisor in (int[])[1, 2, 4])
        {
            DeploymentPlan plan = system.Plan with
            {
                Replicas = [.. system.Plan.Replicas.Select(r => r.DecodeSlots > 0 ? r with { DecodeSlots = Math.Max(1, r.DecodeSlots / divisor), DecodeTokensPerSecond = 0 } : r)],
            };
            foreach (int chunk in (int[])[128, 256, 512])
            {
                if (divisor > 1 || chunk != system.Options.MixedChunkTokens)
                {
                    yield return system with { Plan = divisor > 1 ? plan : system.Plan, Options = system.Options with { MixedChunkTokens = chunk } };
                }
            }
        }
    }
}
