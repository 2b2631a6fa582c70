using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;

namespace E2LLM.Tests.Planning;

/// <summary>
/// The fewest bytes of weights that any pure plan of a capacity loads, by enumeration of all set partitions, orders, splits, roles and up to four slots, judged by the evaluator. Also compiled into
/// the planning report.
/// </summary>
internal static class MoveEnumeration
{
    public static long FewestBytes(DeploymentPlan current, Cluster left, ModelCost model, Workload workload, PlannerOptions options, double capacity)
    {
        int count = left.Devices.Count;
        var problem = new PlanningProblem(left, model, workload, options);
        var assembler = new PlanAssembler(problem);
        var choices = new List<(double Prefill, double Decode, long Bytes)>[1 << count];
        for (int mask = 1; mask < 1 << count; mask++)
        {
            choices[mask] = Choices(mask, current, problem, assembler);
        }

        long best = long.MaxValue;
        Partition((1 << count) - 1, 0, 0, 0, choices, capacity, ref best);
        return best;
    }

    private static List<(double Prefill, double Decode, long Bytes)> Choices(int mask, DeploymentPlan current, PlanningProblem problem, PlanAssembler assembler)
    {
        var all = new List<(double Prefill, double Decode, long Bytes)>();
        int[] devices = [.. Enumerable.Range(0, problem.Cluster.Devices.Count).Where(i => (mask >> i & 1) == 1)];
        foreach (int[] order in devices.Length > problem.LayerCount ? [] : BruteForce.Orders(devices))
        {
            foreach (int[] layers in BruteForce.Splits(problem.LayerCount, order.Length))
            {
                long bytes = -1;
                foreach (int slots in new[] { 0, 1, 2, 3, 4 })
                {
                    var draft = new ReplicaDraft(slots == 0 ? ReplicaRole.Prefill : ReplicaRole.Decode, slots, slots == 0 ? 1 : 0, order, layers);
                    ReplicaPlan replica = assembler.Replica(draft);
                    if (replica.Stages.Where((stage, j) => stage.MemoryBytes > problem.Cluster.Devices[order[j]].MemoryBytes).Any())
                    {
                        continue;
                    }

                    if (bytes < 0)
                    {
                        bytes = PlanDifference.MovedBytes(current, new DeploymentPlan { Planner = "", ModelName = "", Objective = new PlanObjective { Kind = "" }, Replicas = [replica] }, problem.Model);
                    }

                    ReplicaRates rates = assembler.Evaluator.Evaluate(replica);
                    Keep(all, (rates.PrefillRequestsPerSecond, rates.DecodeRequestsPerSecond, bytes));
                }
            }
        }

        return all;
    }

    private static void Keep(List<(double Prefill, double Decode, long Bytes)> all, (double Prefill, double Decode, long Bytes) item)
    {
        if (all.Exists(other => other.Prefill >= item.Prefill && other.Decode >= item.Decode && other.Bytes <= item.Bytes))
        {
            return;
        }

        all.RemoveAll(other => item.Prefill >= other.Prefill && item.Decode >= other.Decode && item.Bytes <= other.Bytes);
        all.Add(item);
    }

    private static void Partition(
        int left, double prefill, double decode, long bytes, List<(double Prefill, double Decode, long Bytes)>[] choices, double capacity, ref long best)
    {
        if (bytes >= best)
        {
            return;
        }

        if (Math.Min(prefill, decode) >= capacity * (1 - 1e-12))
        {
            best = bytes;
            return;
        }

        if (left == 0)
        {
            return;
        }

        int lowest = left & -left, rest = left ^ lowest;
        Partition(rest, prefill, decode, bytes, choices, capacity, ref best);
        for (int part = rest; ; part = (part - 1) & rest)
        {
            foreach ((double p, double d, long b) in choices[part | lowest])
            {
                Partition(left ^ (part | lowest), prefill + p, decode + d, bytes + b, choices, capacity, ref best);
            }

            if (part == 0)
            {
                break;
            }
        }
    }
}
