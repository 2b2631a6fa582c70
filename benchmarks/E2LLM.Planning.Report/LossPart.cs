using System.Diagnostics;
using System.Text;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning.Clustering;
using E2LLM.Tests.Planning;

namespace E2LLM.Planning.Report;

/// <summary>A device is lost.</summary>
internal static class LossPart
{
    private const int Instances = 12;

    public static void Write(StringBuilder text)
    {
        var options = new PlannerOptions { AllowMixed = false, MaxDecodeSlots = 4 };
        int losses = 0, within = 0, few = 0, feasible = 0;
        double slowest = 0, leastShare = 1, worstMoves = 0;
        for (ulong seed = 1; seed <= Instances; seed++)
        {
            var random = new RandomInstances(seed + 500);
            Cluster cluster = random.Cluster(7, 0.4);
            ModelCost model = random.Model(6);
            Workload workload = random.Workload();
            if (DeploymentPlanner.Plan(cluster, model, workload, options).Plan is not { } plan)
            {
                continue;
            }

            foreach (DeviceProfile lost in cluster.Devices)
            {
                Cluster left = cluster with { Devices = [.. cluster.Devices.Where(device => device != lost)] };
                var watch = Stopwatch.StartNew();
                ReplanResult result = Replanner.Replan(plan, left, model, workload, options);
                double seconds = watch.Elapsed.TotalSeconds;
                if (!result.Result.IsFeasible)
                {
                    continue;
                }

                losses++;
                slowest = Math.Max(slowest, seconds);
                double share = result.Result.Plan.Predicted.RequestsPerSecond / result.FullPlanCapacity;
                leastShare = Math.Min(leastShare, share);
                feasible += PlanValidator.Validate(result.Result.Plan, left, model, workload, options).Count == 0 ? 1 : 0;
                within += share >= 0.95 - 1e-9 ? 1 : 0;
                long fewest = FewestBytes(plan, left, model, workload, options, 0.95 * result.FullPlanCapacity);
                bool good = result.MovedBytes <= 1.3 * fewest;
                few += good ? 1 : 0;
                worstMoves = Math.Max(worstMoves, fewest > 0 ? (double)result.MovedBytes / fewest : result.MovedBytes > 0 ? double.PositiveInfinity : 1);
            }
        }

        text.AppendLine("## 5. A lost device\n");
        text.AppendLine($"{Instances} instances of 7 devices and 6 layers, every device lost once: {losses} losses that leave a plan. Fewest bytes: by enumeration of all set partitions, orders, splits, roles and concurrencies whose");
        text.AppendLine($"capacity is within 5 % of a full re-plan. Valid plan in {feasible} of {losses}; slowest {slowest * 1000:F0} ms (goal 100); capacity within 5 % in {within} (least {leastShare * 100:F1} %); at most 1.3 times the fewest");
        text.AppendLine($"bytes in {few} of {losses} (worst {(double.IsPositiveInfinity(worstMoves) ? "some bytes where none were needed" : $"{worstMoves:F2} times")}).");
    }

    private static long FewestBytes(DeploymentPlan current, Cluster left, ModelCost model, Workload workload, PlannerOptions options, double capacity)
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
