using System.Diagnostics;
using System.Text;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Tests.Planning;

namespace E2LLM.Planning.Report;

/// <summary>How time and gap grow with the cluster.</summary>
internal static class ScalePart
{
    public static void Write(StringBuilder text, string folder)
    {
        var options = new PlannerOptions { AllowMixed = false, ExplainMemory = false };
        _ = DeploymentPlanner.Plan(new RandomInstances(1).Cluster(6), new RandomInstances(2).Model(32), new RandomInstances(3).Workload(), options);
        text.AppendLine("## 2. Growth\n");
        text.AppendLine("32 layers, up to 64 decode slots; median and worst of the seeds.\n");
        text.AppendLine("| cluster | goal | seeds | s median | s worst | CPU s worst | gap worst | proved |");
        text.AppendLine("|---|---|---|---|---|---|---|---|");
        var points = new List<(double X, double Y)>();
        foreach ((string name, int count, int classes, int seeds, string goal) in new[]
        {
            ("7 distinct", 7, 0, 5, ""), ("10 distinct", 10, 0, 5, ""), ("12 distinct", 12, 0, 5, "proved in 1 s"), ("14 distinct", 14, 0, 5, ""),
            ("16 distinct", 16, 0, 5, "proved in 30 s"), ("64 of 4 classes", 64, 4, 3, "proved in 5 s"), ("64 distinct", 64, 0, 3, ""),
            ("200 distinct", 200, 0, 5, "gap 10 % in 10 s"), ("1,000 distinct", 1000, 0, 3, "feasible in 60 s"),
        })
        {
            var times = new List<double>();
            double cpu = 0, gap = 0;
            int proved = 0;
            for (ulong seed = 1; seed <= (ulong)seeds; seed++)
            {
                Cluster cluster = classes > 0 ? new RandomInstances(seed).Classes(classes, count / classes) : new RandomInstances(seed).Cluster(count);
                ModelCost model = new RandomInstances(seed + 50).Model(32);
                Workload workload = new RandomInstances(seed + 90).Workload();
                TimeSpan before = Process.GetCurrentProcess().TotalProcessorTime;
                var watch = Stopwatch.StartNew();
                DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, workload, options).Plan!;
                times.Add(watch.Elapsed.TotalSeconds);
                cpu = Math.Max(cpu, (Process.GetCurrentProcess().TotalProcessorTime - before).TotalSeconds);
                gap = Math.Max(gap, plan.Objective.GapFraction);
                proved += plan.Objective.Proved ? 1 : 0;
                if (PlanValidator.Validate(plan, cluster, model, workload, options).Count > 0)
                {
                    throw new InvalidOperationException("A plan of the report is not valid.");
                }
            }

            times.Sort();
            text.AppendLine($"| {name} | {goal} | {seeds} | {times[times.Count / 2]:F2} | {times[^1]:F2} | {cpu:F2} | {gap * 100:F1} % | {proved} of {seeds} |");
            if (classes == 0 && count <= 16)
            {
                points.Add((count, cpu));
            }
        }

        var linkedTimes = new List<double>();
        for (ulong seed = 1; seed <= 2; seed++)
        {
            var watch = Stopwatch.StartNew();
            _ = DeploymentPlanner.Plan(new RandomInstances(seed).Linked(10), new RandomInstances(seed + 50).Model(32), new RandomInstances(seed + 90).Workload(), options);
            linkedTimes.Add(watch.Elapsed.TotalSeconds);
        }

        text.AppendLine();
        text.AppendLine($"Where all links differ, all orders are searched too: 10 devices took {linkedTimes.Max():F1} s at worst; that search ends at {Planning.Partitioning.LinkAwareSplit.MaxDevices} devices and groups of {Clustering.LinkAwareRates.MaxGroup} (beyond");
        text.AppendLine($"8 devices only the fluid bound is claimed), larger clusters get neighbourhoods of 6. With mixed replicas allowed: {Mixed()}");
        File.WriteAllText(Path.Combine(folder, "planning-growth.svg"), Svg.Line("CPU seconds to a proved plan against distinct devices", points));
        text.AppendLine("\n![growth](planning-growth.svg)");
    }

    // How often plans with mixed roles are proved.
    private static string Mixed()
    {
        int proved = 0, plans = 0, used = 0;
        double worst = 0, slowest = 0, gain = 0;
        foreach (int count in new[] { 7, 10, 12 })
        {
            for (ulong seed = 1; seed <= 10; seed++)
            {
                Cluster cluster = new RandomInstances(seed).Cluster(count);
                ModelCost model = new RandomInstances(seed + 50).Model(32);
                Workload workload = new RandomInstances(seed + 90).Workload();
                var watch = Stopwatch.StartNew();
                if (DeploymentPlanner.Plan(cluster, model, workload, new PlannerOptions { ExplainMemory = false }).Plan is not { } plan)
                {
                    continue;
                }

                slowest = Math.Max(slowest, watch.Elapsed.TotalSeconds);
                plans++;
                proved += plan.Objective.Proved ? 1 : 0;
                used += plan.Replicas.Any(replica => replica.Role == ReplicaRole.Mixed) ? 1 : 0;
                worst = Math.Max(worst, plan.Objective.GapFraction);
                double pure = DeploymentPlanner.Plan(cluster, model, workload, new PlannerOptions { AllowMixed = false, ExplainMemory = false }).Plan?.Predicted.RequestsPerSecond ?? 0;
                gain = Math.Max(gain, pure > 0 ? (plan.Predicted.RequestsPerSecond / pure) - 1 : 0);
            }
        }

        return $"of {plans} plans for 7, 10 and 12 devices {used} have a mixed replica (capacity up to {gain * 100:F1} % more) and {proved} are proved; worst gap {worst * 100:F1} % (where ports limit pure replicas several mixed ones may be better, and are bounded, not searched); slowest {slowest:F2} s.";
    }
}
