using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning.Clustering;
using E2LLM.Planning.Partitioning;

namespace E2LLM.Planning;

/// <summary>
/// The plans one step away from a plan: other decode slots in one replica, another role for one, a device moved to another replica, to a replica of its own or out of use, two
/// unlike devices exchanged. What a step changes is split anew by the search's exact split. Devices are moved only where links are alike, since the split relies on that.
/// Not thread-safe.
/// </summary>
internal sealed class PlanNeighbours
{
    private readonly PlanningProblem _problem;
    private readonly PlanAssembler _assembler;
    private readonly GroupRates _rates;
    private readonly RealLayers _real;
    private readonly int[] _classOf;
    private readonly Dictionary<(string Counts, ReplicaRole Role), Group?> _groups = [];

    public PlanNeighbours(PlanningProblem problem)
    {
        _problem = problem;
        _assembler = new PlanAssembler(problem);
        _rates = new GroupRates(problem);
        _real = new RealLayers(problem, _assembler);
        _classOf = new int[problem.Cluster.Devices.Count];
        for (int c = 0; c < problem.Classes.Length; c++)
        {
            foreach (int device in problem.Classes[c].Devices)
            {
                _classOf[device] = c;
            }
        }
    }

    /// <summary>A replica without names: devices are classes. Immutable.</summary>
    private sealed record Group(ReplicaRole Role, int Slots, double Share, int[] Classes, int[] Layers);

    /// <summary>Every feasible neighbour of <paramref name="plan"/>, in a fixed order; the same plan may come more than once.</summary>
    public IEnumerable<DeploymentPlan> Of(DeploymentPlan plan)
    {
        Group[] groups = [.. plan.Replicas.Select(replica => new Group(
            replica.Role, replica.DecodeSlots, replica.PrefillShare,
            [.. replica.Stages.Select(stage => _classOf[_problem.Cluster.IndexOf(stage.Device)])], [.. replica.Stages.Select(stage => stage.Layers.Count)]))];
        IEnumerable<Group?[]> steps = Slots(groups);
        if (_problem.LinksUniform)
        {
            steps = steps.Concat(Roles(groups)).Concat(Moves(groups)).Concat(Exchanges(groups));
        }

        return steps.Where(step => Array.TrueForAll(step, group => group is not null)).Select(step => Plan(step!, plan.Planner)).OfType<DeploymentPlan>();
    }

    /// <summary>Equal for equal deployments: roles, slots, devices and layers of all replicas.</summary>
    public static string Key(DeploymentPlan plan) => string.Join(';', plan.Replicas.Select(replica =>
        $"{(int)replica.Role},{replica.DecodeSlots}:{string.Join(',', replica.Stages.Select(stage => $"{stage.Device} {stage.Layers.Start}"))}"));

    private IEnumerable<Group?[]> Slots(Group[] groups)
    {
        for (int i = 0; i < groups.Length; i++)
        {
            int slots = groups[i].Slots, stages = groups[i].Classes.Length;
            if (slots > 0)
            {
                foreach (int other in new[] { 1, slots / 2, slots * 3 / 4, slots - stages, slots - 1, slots + 1, slots + stages, slots * 3 / 2, slots * 2 }.Distinct())
                {
                    if (other >= 1 && other != slots && other <= _problem.Options.MaxDecodeSlots)
                    {
                        yield return Replaced(groups, i, groups[i] with { Slots = other });
                    }
                }
            }
        }
    }

    private IEnumerable<Group?[]> Roles(Group[] groups)
    {
        for (int i = 0; i < groups.Length; i++)
        {
            foreach (ReplicaRole role in AllowedRoles())
            {
                if (role != groups[i].Role)
                {
                    yield return Replaced(groups, i, Best(Counts(groups[i]), role));
                }
            }
        }
    }

    private IEnumerable<Group?[]> Moves(Group[] groups)
    {
        int[] idle = Idle(groups);
        for (int from = -1; from < groups.Length; from++)
        {
            int[] have = from < 0 ? idle : Counts(groups[from]);
            for (int c = 0; c < have.Length; c++)
            {
                if (have[c] == 0)
                {
                    continue;
                }

                // What is left where the device was; a replica of which nothing is left is gone.
                Group[] rest = groups;
                if (from >= 0)
                {
                    int[] left = With(have, c, -1);
                    if (left.Sum() == 0)
                    {
                        rest = [.. groups.Where((_, i) => i != from)];
                    }
                    else if (Best(left, groups[from].Role) is { } smaller)
                    {
                        rest = [.. groups];
                        rest[from] = smaller;
                    }
                    else
                    {
                        continue;
                    }

                    yield return [.. rest];
                }

                for (int to = 0; to < rest.Length; to++)
                {
                    if (to != from || rest.Length < groups.Length)
                    {
                        yield return Replaced(rest, to, Best(With(Counts(rest[to]), c, 1), rest[to].Role));
                    }
                }

                foreach (ReplicaRole role in AllowedRoles())
                {
                    yield return [.. rest, Best(With(new int[have.Length], c, 1), role)];
                }
            }
        }
    }

    private IEnumerable<Group?[]> Exchanges(Group[] groups)
    {
        for (int i = 0; i < groups.Length; i++)
        {
            for (int j = i + 1; j < groups.Length; j++)
            {
                int[] mine = Counts(groups[i]), other = Counts(groups[j]);
                for (int a = 0; a < mine.Length; a++)
                {
                    for (int b = 0; b < mine.Length; b++)
                    {
                        if (a != b && mine[a] > 0 && other[b] > 0)
                        {
                            Group?[] step = Replaced(groups, i, Best(With(With(mine, a, -1), b, 1), groups[i].Role));
                            step[j] = Best(With(With(other, b, -1), a, 1), groups[j].Role);
                            yield return step;
                        }
                    }
                }
            }
        }
    }

    private ReplicaRole[] AllowedRoles() => _problem.Options.AllowMixed
        ? [ReplicaRole.Prefill, ReplicaRole.Decode, ReplicaRole.Mixed] : [ReplicaRole.Prefill, ReplicaRole.Decode];

    /// <summary>The best split and slots of these devices in this role; null where there is none.</summary>
    private Group? Best(int[] counts, ReplicaRole role)
    {
        (string, ReplicaRole) key = (string.Join(',', counts), role);
        if (!_groups.TryGetValue(key, out Group? known))
        {
            _groups[key] = known = counts.Sum() <= _problem.MaxStageCount ? Split(counts, role) : null;
        }

        return known;
    }

    private Group? Split(int[] counts, ReplicaRole role)
    {
        const int anyState = -1;
        GroupPick pick;
        if (role == ReplicaRole.Mixed)
        {
            // Of the splits that serve both phases the one whose balanced time sharing serves the most.
            var choices = new List<MixedChoice>();
            _rates.Mixed(
                anyState, counts, false, limits => choices.Count == 0 || Balanced(limits.Prefill, limits.Decode) > choices.Max(choice => Balanced(choice.PrefillRate, choice.DecodeRate)), choices);
            if (choices.Count == 0)
            {
                return null;
            }

            MixedChoice best = choices.MaxBy(choice => Balanced(choice.PrefillRate, choice.DecodeRate));
            pick = new GroupPick(anyState, counts, role, best.Split, best, best.DecodeRate / (best.PrefillRate + best.DecodeRate));
        }
        else
        {
            RoleChoice choice = role == ReplicaRole.Prefill ? _rates.Prefill(anyState, counts, 0) : _rates.Decode(anyState, counts, 0);
            if (!(choice.Rate > 0))
            {
                return null;
            }

            pick = new GroupPick(anyState, counts, role, choice, default, role == ReplicaRole.Prefill ? 1 : 0);
        }

        ReplicaDraft? draft = _real.WithinCycle(_real.Resplit(_assembler.Drafts([pick], _rates)[0]));
        return draft is null ? null : new Group(role, draft.Slots, draft.PrefillShare, [.. draft.Devices.Select(device => _classOf[device])], draft.Layers);
    }

    private static double Balanced(double prefill, double decode) => prefill * decode / (prefill + decode);

    // Names the devices, class by class, and checks what slots may have changed: memory and the longest allowed cycle.
    private DeploymentPlan? Plan(Group[] groups, string planner)
    {
        if (!Array.Exists(groups, g => g.Role != ReplicaRole.Decode) || !Array.Exists(groups, g => g.Role != ReplicaRole.Prefill))
        {
            return null;
        }

        var next = new int[_problem.Classes.Length];
        var drafts = new List<ReplicaDraft>(groups.Length);
        foreach (Group group in groups)
        {
            int[] devices = [.. group.Classes.Select(c => _problem.Classes[c].Devices[next[c]++])];
            drafts.Add(new ReplicaDraft(group.Role, group.Slots, group.Share, devices, group.Layers));
        }

        DeploymentPlan plan = _assembler.Assemble(drafts, planner);
        foreach (ReplicaPlan replica in plan.Replicas)
        {
            if (replica.Stages.Any(stage => stage.MemoryBytes > MemoryBytes(stage.Device))
                || (replica.Role != ReplicaRole.Prefill && _assembler.Evaluator.Evaluate(replica).CycleSeconds > _problem.Work.MaxCycleSeconds))
            {
                return null;
            }
        }

        return plan.Predicted.RequestsPerSecond > 0 ? plan : null;
    }

    private long MemoryBytes(string name)
    {
        DeviceProfile device = _problem.Cluster.Devices[_problem.Cluster.IndexOf(name)];
        return device.MemoryBytes + (_problem.Options.UseHostMemory ? device.HostMemoryBytes : 0);
    }

    private int[] Idle(Group[] groups)
    {
        int[] idle = [.. _problem.Classes.Select(c => c.Devices.Length)];
        foreach (Group group in groups)
        {
            foreach (int c in group.Classes)
            {
                idle[c]--;
            }
        }

        return idle;
    }

    private int[] Counts(Group group)
    {
        var counts = new int[_problem.Classes.Length];
        foreach (int c in group.Classes)
        {
            counts[c]++;
        }

        return counts;
    }

    private static Group?[] Replaced(Group[] groups, int index, Group? group)
    {
        Group?[] changed = [.. groups];
        changed[index] = group;
        return changed;
    }

    private static int[] With(int[] counts, int index, int change)
    {
        int[] changed = [.. counts];
        changed[index] += change;
        return changed;
    }
}
