using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Planning.Clustering;
using E2LLM.Simulation.Models;

namespace E2LLM.Simulation.Report;

/// <summary>
/// Every deployment of a small cluster: all ways to put devices (some may stay unused) into groups, each group with each role, its layers split
/// by the planner's exact split and its slots the best of all concurrencies that keep the minimum decode speed. What the systems compared here may
/// choose from is a rule on this one space, so no system has a better search than another.
/// </summary>
internal sealed class PlanSpace
{
    // Rates over uniform links depend on the counts alone; the planner's searches number them, this one does not.
    private const int AnyState = -1;
    private readonly PlanningProblem _problem;
    private readonly GroupRates _rates;
    private readonly PlanAssembler _assembler;
    private readonly int[] _available;
    private readonly List<GroupOption> _options = [];

    public PlanSpace(Cluster cluster, ModelCost model, Workload workload, PlannerOptions options)
    {
        (Cluster, Model, Workload) = (cluster, model, workload);
        _problem = new PlanningProblem(cluster, model, workload, options);
        _rates = new GroupRates(_problem);
        _assembler = new PlanAssembler(_problem);
        _available = [.. _problem.Classes.Select(c => c.Devices.Length)];
        EnumerateGroups(new int[_available.Length], 0);
    }

    public Cluster Cluster { get; }

    public ModelCost Model { get; }

    public Workload Workload { get; }

    /// <summary>The groups that can take a role.</summary>
    public IEnumerable<GroupOption> Groups(ReplicaRole role) => _options.Where(o => o.Pick.Role == role);

    /// <summary>The plan of a candidate.</summary>
    public DeploymentPlan Plan(Candidate candidate, string planner)
    {
        DeploymentPlan plan = _assembler.Assemble(_assembler.Drafts([.. candidate.Groups.Select(g => g.Pick)], _rates), planner);
        return plan with { Objective = new PlanObjective { Kind = "capacity", Value = candidate.Capacity } };
    }

    /// <summary>The <paramref name="count"/> candidates with the smallest score that a rule allows, best first.</summary>
    public List<Candidate> Best(PlanRule rule, int count, Func<Candidate, double> score) => Best(rule, (count, score))[0];

    /// <summary>As <see cref="Best(PlanRule, int, Func{Candidate, double})"/> for several scores in one walk through the space; ties go to fewer devices.</summary>
    public List<Candidate>[] Best(PlanRule rule, params (int Count, Func<Candidate, double> Score)[] searches)
    {
        GroupOption[] options = [.. _options.Where(o => (rule.Mixed || o.Pick.Role != ReplicaRole.Mixed)
            && (!rule.OnlyMixed || o.Pick.Role == ReplicaRole.Mixed) && o.Pick.Counts.Sum() <= rule.MaxStages)];
        PriorityQueue<Candidate, double>[] kept = [.. searches.Select(_ => new PriorityQueue<Candidate, double>())];
        Combine(options, 0, [.. _available], [], rule, candidate =>
        {
            for (int i = 0; i < searches.Length; i++)
            {
                double value = searches[i].Score(candidate);
                if (kept[i].Count < searches[i].Count)
                {
                    kept[i].Enqueue(candidate, -value);
                }
                else
                {
                    kept[i].EnqueueDequeue(candidate, -value);
                }
            }
        });
        return [.. kept.Select(k => k.UnorderedItems.OrderBy(i => -i.Priority).ThenBy(i => i.Element.Groups.Sum(g => g.Pick.Counts.Sum())).Select(i => i.Element).ToList())];
    }

    /// <summary>Splitwise's rule on a plan that was not made here: every prefill replica prefills at least as fast as every decode replica would, and none does both.</summary>
    public bool ObeysFastestPrefill(DeploymentPlan plan)
    {
        double slowestPrefill = double.PositiveInfinity, fastestDecode = 0;
        foreach (ReplicaPlan replica in plan.Replicas)
        {
            var counts = new int[_available.Length];
            foreach (StagePlan stage in replica.Stages)
            {
                counts[Array.FindIndex(_problem.Classes, c => c.Devices.Contains(Cluster.IndexOf(stage.Device)))]++;
            }

            double rate = _rates.Prefill(AnyState, counts, 0).Rate;
            if (replica.Role == ReplicaRole.Mixed)
            {
                return false;
            }

            (slowestPrefill, fastestDecode) = replica.Role == ReplicaRole.Prefill ? (Math.Min(slowestPrefill, rate), fastestDecode) : (slowestPrefill, Math.Max(fastestDecode, rate));
        }

        return slowestPrefill >= fastestDecode;
    }

    private void Combine(GroupOption[] options, int from, int[] left, List<GroupOption> chosen, PlanRule rule, Action<Candidate> take)
    {
        if (chosen.Count > 0 && (!rule.UseAllDevices || Array.TrueForAll(left, n => n == 0)) && Allowed(chosen, rule) && Evaluate(chosen) is { Capacity: > 0 } candidate)
        {
            take(candidate);
        }

        if (chosen.Count == rule.MaxGroups)
        {
            return;
        }

        for (int i = from; i < options.Length; i++)
        {
            int[] counts = options[i].Pick.Counts;
            bool fits = true;
            for (int k = 0; k < left.Length && fits; k++)
            {
                fits = counts[k] <= left[k];
            }

            if (!fits)
            {
                continue;
            }

            for (int k = 0; k < left.Length; k++)
            {
                left[k] -= counts[k];
            }

            chosen.Add(options[i]);
            Combine(options, i, left, chosen, rule, take);
            chosen.RemoveAt(chosen.Count - 1);
            for (int k = 0; k < left.Length; k++)
            {
                left[k] += counts[k];
            }
        }
    }

    private static bool Allowed(List<GroupOption> groups, PlanRule rule)
    {
        if (!rule.FastestPrefill)
        {
            return true;
        }

        double slowestPrefill = double.PositiveInfinity, fastestDecode = 0;
        foreach (GroupOption group in groups)
        {
            if (group.Pick.Role == ReplicaRole.Prefill)
            {
                slowestPrefill = Math.Min(slowestPrefill, group.OwnPrefillRate);
            }
            else
            {
                fastestDecode = Math.Max(fastestDecode, group.OwnPrefillRate);
            }
        }

        return slowestPrefill >= fastestDecode;
    }

    // Mixed groups divide their time so that both phases keep pace: a fractional knapsack by the ratio of their rates.
    private Candidate Evaluate(List<GroupOption> groups)
    {
        double slow = _problem.Options.MixedSlowdown, prefill = 0, decode = 0, prompt = double.PositiveInfinity, step = double.PositiveInfinity, both = double.PositiveInfinity;
        double output = _problem.Work.OutputMean;
        List<GroupOption>? mixed = null;
        foreach (GroupOption group in groups)
        {
            switch (group.Pick.Role)
            {
                case ReplicaRole.Prefill:
                    prefill += group.PrefillRate;
                    prompt = Math.Min(prompt, group.PrefillSeconds);
                    break;
                case ReplicaRole.Decode:
                    decode += group.DecodeRate;
                    step = Math.Min(step, group.StepSeconds);
                    break;
                default:
                    (mixed ??= []).Add(group);
                    decode += group.DecodeRate / slow;
                    both = Math.Min(both, group.PrefillSeconds + (output * group.StepSeconds));
                    break;
            }
        }

        IReadOnlyList<GroupOption> final = [.. groups];
        if (mixed is not null)
        {
            mixed.Sort((x, y) => (y.PrefillRate / y.DecodeRate).CompareTo(x.PrefillRate / x.DecodeRate));
            var shared = new List<GroupOption>(groups.Count);
            shared.AddRange(groups.Where(g => g.Pick.Role != ReplicaRole.Mixed));
            foreach (GroupOption group in mixed)
            {
                // The share x at which prefill so far + x p equals decode of all - x d.
                double share = Math.Clamp((decode - prefill) / ((group.PrefillRate + group.DecodeRate) / slow), 0, 1);
                prefill += share * group.PrefillRate / slow;
                decode -= share * group.DecodeRate / slow;
                shared.Add(group with { Pick = group.Pick with { PrefillShare = share } });
            }

            final = shared;
        }

        return new Candidate(final, Math.Min(prefill, decode), Math.Min(both, prompt + (output * step)));
    }

    private void EnumerateGroups(int[] counts, int index)
    {
        if (index == counts.Length)
        {
            if (counts.Sum() > 0 && counts.Sum() <= _problem.MaxStageCount)
            {
                AddGroup([.. counts]);
            }

            return;
        }

        for (int n = 0; n <= _available[index]; n++)
        {
            counts[index] = n;
            EnumerateGroups(counts, index + 1);
        }

        counts[index] = 0;
    }

    private void AddGroup(int[] counts)
    {
        RoleChoice prefill = _rates.Prefill(AnyState, counts, 0), decode = _rates.Decode(AnyState, counts, 0);
        if (prefill.Rate > 0)
        {
            Add(new GroupPick(AnyState, counts, ReplicaRole.Prefill, prefill, default, 1), prefill.Rate, 0, prefill.Rate);
        }

        if (decode.Rate > 0)
        {
            Add(new GroupPick(AnyState, counts, ReplicaRole.Decode, decode, default, 0), 0, decode.Rate, prefill.Rate);
        }

        if (_problem.Options.AllowMixed)
        {
            // Of the splits that serve both phases, the one whose balanced time sharing serves the most requests.
            var choices = new List<MixedChoice>();
            _rates.Mixed(AnyState, counts, false, _ => true, choices);
            if (choices.Count > 0)
            {
                MixedChoice best = choices.MaxBy(c => c.PrefillRate * c.DecodeRate / (c.PrefillRate + c.DecodeRate));
                Add(new GroupPick(AnyState, counts, ReplicaRole.Mixed, best.Split, best, 0.5), best.PrefillRate, best.DecodeRate, prefill.Rate);
            }
        }
    }

    private void Add(GroupPick pick, double prefill, double decode, double ownPrefill)
    {
        DeploymentPlan alone = _assembler.Assemble(_assembler.Drafts([pick], _rates), "group");
        ReplicaModel replica = ReplicaModels.Build(alone, Cluster, Model, _problem.Options.PrefillChunkTokens)[0];
        int prompt = Math.Max(1, (int)_problem.Work.PromptMean), chunk = Math.Min(prompt, _problem.Options.PrefillChunkTokens);
        double[] pass = [.. replica.Stages.Select(s => s.Times.PassSeconds(chunk, 0, 0, 0, 1))];
        double chunks = Math.Ceiling((double)prompt / chunk);
        _options.Add(new GroupOption(pick, prefill, decode, ownPrefill, pass.Sum() + ((chunks - 1) * pass.Max()), replica.StepSeconds(1)));
    }
}
