using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning.Clustering;

namespace E2LLM.Planning;

/// <summary>A replica with its devices named: what searches hand over. Immutable.</summary>
/// <param name="Role">Its role.</param>
/// <param name="Slots">Decode slots; 0 for prefill.</param>
/// <param name="PrefillShare">Share of its time for prefill.</param>
/// <param name="Devices">Cluster indices in stage order.</param>
/// <param name="Layers">Layers of each stage.</param>
internal sealed record ReplicaDraft(ReplicaRole Role, int Slots, double PrefillShare, int[] Devices, int[] Layers);

/// <summary>Turns what a search found into a plan with its figures. Stateless apart from the problem; thread-safe.</summary>
internal sealed class PlanAssembler(PlanningProblem problem)
{
    private readonly PlanEvaluator _evaluator = new(problem);

    public PlanEvaluator Evaluator => _evaluator;

    /// <summary>Gives the devices of each class to the groups in turn and lays the stages out: embedding first, head last.</summary>
    public List<ReplicaDraft> Drafts(IReadOnlyList<GroupPick> picks, IGroupRates rates)
    {
        var next = new int[problem.Classes.Length];
        var drafts = new List<ReplicaDraft>(picks.Count);
        foreach (GroupPick pick in picks)
        {
            (int slots, List<(int Class, int Layers)> split) = rates.Stages(pick);
            int[] devices = [.. split.Select(stage => problem.Classes[stage.Class].Devices[next[stage.Class]++])];
            drafts.Add(new ReplicaDraft(pick.Role, slots, pick.PrefillShare, devices, [.. split.Select(stage => stage.Layers)]));
        }

        return drafts;
    }

    /// <summary>The plan of the drafts, replicas in canonical order, with predictions; objective and explanation are left to the caller.</summary>
    public DeploymentPlan Assemble(IReadOnlyList<ReplicaDraft> drafts, string planner)
    {
        var replicas = new List<ReplicaPlan>(drafts.Count);
        var used = new HashSet<int>();
        foreach (ReplicaDraft draft in drafts)
        {
            replicas.Add(Replica(draft));
            used.UnionWith(draft.Devices);
        }

        // By role, then by speed: independent of how the search came upon them.
        ReplicaPlan[] ordered = [.. replicas
            .OrderBy(item => item.Role)
            .ThenByDescending(item => item.PrefillTokensPerSecond + item.DecodeTokensPerSecond)
            .ThenBy(item => item.Stages.Count)
            .Select((item, i) => item with { Name = $"r{i}", Bottleneck = Renamed(item, $"r{i}") })];
        var plan = new DeploymentPlan
        {
            Planner = planner,
            Seed = problem.Options.Seed,
            ModelName = problem.Model.Name,
            Objective = new PlanObjective { Kind = "capacity" },
            Replicas = ordered,
            UnusedDevices = [.. Enumerable.Range(0, problem.Cluster.Devices.Count)
                .Where(device => !used.Contains(device)).Select(device => problem.Cluster.Devices[device].Name)],
        };
        PlanPrediction predicted = QueueingModel.Predict(plan, _evaluator, problem.Workload, problem.Workload.Arrivals.RequestsPerSecond);
        return plan with { Predicted = predicted };
    }

    public ReplicaPlan Replica(ReplicaDraft draft)
    {
        int count = draft.Devices.Length, start = 0;
        var stages = new StagePlan[count];
        int batch = draft.Slots > 0 ? GroupRates.Batch(draft.Slots, count) : 1;
        for (int j = 0; j < count; j++)
        {
            var layers = new LayerRange(start, start + draft.Layers[j]);
            start = layers.End;
            bool embedding = j == 0, head = j == count - 1;
            stages[j] = new StagePlan
            {
                Device = problem.Cluster.Devices[draft.Devices[j]].Name,
                Layers = layers,
                Embedding = embedding,
                Head = head,
                MemoryBytes = problem.Times.Memory(draft.Role, layers, embedding, head, draft.Slots, batch),
            };
        }

        var replica = new ReplicaPlan
        {
            Name = "r",
            Role = draft.Role,
            DecodeSlots = draft.Slots,
            PrefillShare = draft.PrefillShare,
            Stages = stages,
        };
        ReplicaRates rates = _evaluator.Evaluate(replica);
        return replica with
        {
            PrefillTokensPerSecond = rates.PrefillRequestsPerSecond * problem.Work.PromptMean,
            DecodeTokensPerSecond = rates.DecodeRequestsPerSecond * problem.Work.OutputMean,
            Bottleneck = rates.Bottleneck,
        };
    }

    private static PlanBottleneck Renamed(ReplicaPlan replica, string name) =>
        replica.Bottleneck.Kind == "latency" ? replica.Bottleneck with { At = name } : replica.Bottleneck;
}
