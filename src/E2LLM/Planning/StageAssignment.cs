using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>
/// Lays a plan's stages out so that devices reload little: middle stages of a replica may stand in any order on equal links and equal layers, and devices of one class may swap places.
/// Hill climbing by swaps, first improvement, deterministic. Stateless.
/// </summary>
internal static class StageAssignment
{
    private const int MaxRounds = 20;

    public static List<ReplicaDraft> Assign(DeploymentPlan plan, DeploymentPlan current, PlanningProblem problem)
    {
        var drafts = new List<ReplicaDraft>();
        foreach (ReplicaPlan replica in plan.Replicas)
        {
            drafts.Add(new ReplicaDraft(
                replica.Role, replica.DecodeSlots, replica.PrefillShare,
                [.. replica.Stages.Select(stage => problem.Cluster.IndexOf(stage.Device))], [.. replica.Stages.Select(stage => stage.Layers.Count)]));
        }

        Dictionary<int, StagePlan> held = Held(current, problem);
        int[] classOf = ClassOf(problem);
        for (int round = 0; round < MaxRounds; round++)
        {
            bool improved = false;
            for (int a = 0; a < drafts.Count; a++)
            {
                for (int i = 0; i < drafts[a].Devices.Length; i++)
                {
                    for (int b = a; b < drafts.Count; b++)
                    {
                        for (int j = b == a ? i + 1 : 0; j < drafts[b].Devices.Length; j++)
                        {
                            improved |= TrySwap(drafts[a], i, drafts[b], j, a == b, held, classOf, problem);
                        }
                    }
                }
            }

            improved |= TryIdle(drafts, held, classOf, problem);
            if (!improved)
            {
                break;
            }
        }

        return drafts;
    }

    private static bool TryIdle(List<ReplicaDraft> drafts, Dictionary<int, StagePlan> held, int[] classOf, PlanningProblem problem)
    {
        bool improved = false;
        var used = new HashSet<int>(drafts.SelectMany(draft => draft.Devices));
        foreach (int idle in problem.Devices)
        {
            foreach (ReplicaDraft draft in used.Contains(idle) ? [] : drafts)
            {
                for (int i = 0; i < draft.Devices.Length && !used.Contains(idle); i++)
                {
                    int old = draft.Devices[i];
                    if (classOf[old] != classOf[idle])
                    {
                        continue;
                    }

                    long before = Moved(draft, held, problem);
                    draft.Devices[i] = idle;
                    if (Moved(draft, held, problem) < before)
                    {
                        used.Remove(old);
                        used.Add(idle);
                        improved = true;
                    }
                    else
                    {
                        draft.Devices[i] = old;
                    }
                }
            }
        }

        return improved;
    }

    private static bool TrySwap(
        ReplicaDraft one, int i, ReplicaDraft other, int j, bool same, Dictionary<int, StagePlan> held, int[] classOf, PlanningProblem problem)
    {
        // Within a replica middle stages move with their layers; embedding and head stay where memory was counted. Between replicas only equals swap.
        bool middle = same && i > 0 && j < one.Devices.Length - 1;
        if (!middle && classOf[one.Devices[i]] != classOf[other.Devices[j]])
        {
            return false;
        }

        long before = Moved(one, held, problem) + (same ? 0 : Moved(other, held, problem));
        Swap(one, i, other, j, middle);
        if (Moved(one, held, problem) + (same ? 0 : Moved(other, held, problem)) < before)
        {
            return true;
        }

        Swap(one, i, other, j, middle);
        return false;
    }

    private static void Swap(ReplicaDraft one, int i, ReplicaDraft other, int j, bool withLayers)
    {
        (one.Devices[i], other.Devices[j]) = (other.Devices[j], one.Devices[i]);
        if (withLayers)
        {
            (one.Layers[i], other.Layers[j]) = (other.Layers[j], one.Layers[i]);
        }
    }

    private static long Moved(ReplicaDraft draft, Dictionary<int, StagePlan> held, PlanningProblem problem)
    {
        long moved = 0;
        int start = 0;
        for (int j = 0; j < draft.Devices.Length; j++)
        {
            var layers = new LayerRange(start, start += draft.Layers[j]);
            bool embedding = j == 0, head = j == draft.Devices.Length - 1;
            moved += held.TryGetValue(draft.Devices[j], out StagePlan? old)
                ? PlanDifference.MovedBytes(old.Layers, old.Embedding, old.Head, layers, embedding, head, problem.Model)
                : problem.Model.WeightBytes(layers, embedding, head);
        }

        return moved;
    }

    private static Dictionary<int, StagePlan> Held(DeploymentPlan current, PlanningProblem problem)
    {
        var held = new Dictionary<int, StagePlan>();
        foreach (ReplicaPlan replica in current.Replicas)
        {
            foreach (StagePlan stage in replica.Stages)
            {
                int device = problem.Cluster.IndexOf(stage.Device);
                if (device >= 0)
                {
                    held[device] = stage;
                }
            }
        }

        return held;
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
}
