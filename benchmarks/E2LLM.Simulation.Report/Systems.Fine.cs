using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;

namespace E2LLM.Simulation.Report;

// Steps that the neighbours of a plan do not have: slots of two replicas at once, since fewer here are only good with more there, and a layer passed on from stage to stage.
internal sealed partial class Systems
{
    private static readonly int[] SlotCounts = [1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64];

    private readonly PlanEvaluator _evaluator = new(cluster, model, workload, new PlannerOptions { MaxStageCount = maxStages });

    // Neighbours and fine steps in turn until neither is better.
    private Ranked Polish(
        Ranked at, IReadOnlyList<SimulatedRequest> trace, Func<Ranked, (double, double, double)> key, Func<DeploymentPlan, bool> allowed, Dictionary<(string, SimulationOptions), Ranked> known)
    {
        for (int round = 0; round < rounds; round++)
        {
            Ranked fine = Fine(at.System.Plan).Where(Fits).DistinctBy(PlanNeighbours.Key).Where(allowed)
                .Select(plan => Known(at.System with { Plan = plan }, trace, known)).Append(at).MinBy(key)!;
            Ranked next = Descend(fine, trace, key, allowed, rounds, known);
            if (key(next).CompareTo(key(at)) >= 0)
            {
                break;
            }

            at = next;
        }

        return at;
    }

    private static IEnumerable<DeploymentPlan> Fine(DeploymentPlan plan)
    {
        for (int i = 0; i < plan.Replicas.Count; i++)
        {
            for (int j = i + 1; j < plan.Replicas.Count; j++)
            {
                if (plan.Replicas[i].DecodeSlots > 0 && plan.Replicas[j].DecodeSlots > 0)
                {
                    foreach (int mine in SlotCounts)
                    {
                        foreach (int other in SlotCounts)
                        {
                            yield return With(With(plan, i, r => r with { DecodeSlots = mine }), j, r => r with { DecodeSlots = other });
                        }
                    }
                }
            }

            for (int stage = 0; stage + 1 < plan.Replicas[i].Stages.Count; stage++)
            {
                foreach (int layers in (int[])[-2, -1, 1, 2])
                {
                    LayerRange before = plan.Replicas[i].Stages[stage].Layers, after = plan.Replicas[i].Stages[stage + 1].Layers;
                    int cut = before.End + layers, at = stage;
                    if (cut > before.Start && cut < after.End)
                    {
                        yield return With(plan, i, r => r with
                        {
                            Stages = [.. r.Stages.Select((s, k) => k == at ? s with { Layers = new LayerRange(before.Start, cut) } : k == at + 1 ? s with { Layers = new LayerRange(cut, after.End) } : s)],
                        });
                    }
                }
            }
        }
    }

    // Rates and bytes of a changed replica are reckoned anew.
    private static DeploymentPlan With(DeploymentPlan plan, int index, Func<ReplicaPlan, ReplicaPlan> change) => plan with
    {
        Replicas = [.. plan.Replicas.Select((r, i) => i == index ? change(r) with { PrefillTokensPerSecond = 0, DecodeTokensPerSecond = 0 } : r)],
    };

    // As planned plans do: in memory, and each sequence at its least speed with all slots taken.
    private bool Fits(DeploymentPlan plan) => plan.Replicas.All(replica =>
        replica.Stages.All(stage => _evaluator.MemoryBytes(replica, stage) <= cluster.Devices[cluster.IndexOf(stage.Device)].MemoryBytes)
        && (replica.Role == ReplicaRole.Prefill || _evaluator.Evaluate(replica).CycleSeconds <= _evaluator.Work.MaxCycleSeconds));
}
