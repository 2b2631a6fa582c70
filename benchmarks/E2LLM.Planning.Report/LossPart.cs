using System.Diagnostics;
using System.Text;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Tests.Planning;

namespace E2LLM.Planning.Report;

/// <summary>A device is lost.</summary>
internal static class LossPart
{
    private const int Instances = 12;

    public static void Write(StringBuilder text)
    {
        var options = new PlannerOptions { AllowMixed = false, MaxDecodeSlots = 4, ExplainMemory = false };
        int losses = 0, within = 0, few = 0, feasible = 0;
        double slowest = 0, leastShare = 1, worstMoves = 0;
        var times = new List<double>();
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
                times.Add(seconds);
                double share = result.Result.Plan.Predicted.RequestsPerSecond / result.FullPlanCapacity;
                leastShare = Math.Min(leastShare, share);
                feasible += PlanValidator.Validate(result.Result.Plan, left, model, workload, options).Count == 0 ? 1 : 0;
                within += share >= 0.95 - 1e-9 ? 1 : 0;
                long fewest = MoveEnumeration.FewestBytes(plan, left, model, workload, options, 0.95 * result.FullPlanCapacity);
                bool good = result.MovedBytes <= 1.3 * fewest;
                few += good ? 1 : 0;
                worstMoves = Math.Max(worstMoves, fewest > 0 ? (double)result.MovedBytes / fewest : result.MovedBytes > 0 ? double.PositiveInfinity : 1);
            }
        }

        times.Sort();
        text.AppendLine("## 5. A lost device\n");
        text.AppendLine($"{Instances} instances of 7 devices and 6 layers, every device lost once: {losses} losses that leave a plan. Fewest bytes: by enumeration of all set partitions, orders, splits, roles and concurrencies whose");
        text.AppendLine($"capacity is within 5 % of a full re-plan. Valid plan in {feasible} of {losses}; slowest {slowest * 1000:F0} ms, median {times[times.Count / 2] * 1000:F0} ms (goal 100); capacity within 5 % in {within} (least {leastShare * 100:F1} %); at most 1.3 times the fewest");
        text.AppendLine($"bytes in {few} of {losses} (worst {(double.IsPositiveInfinity(worstMoves) ? "some bytes where none were needed" : $"{worstMoves:F2} times")}).");
    }
}
