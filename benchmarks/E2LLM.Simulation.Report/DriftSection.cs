using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;

namespace E2LLM.Simulation.Report;

/// <summary>Section 4.4: lengths that change in mid-run, with and without a new plan. Stateless.</summary>
internal static class DriftSection
{
    private const int Before = 300, Count = 1200;
    private const double Share = 0.85;

    public static void Write(ReportWriter report, Cluster cluster)
    {
        report.Text("## 4.4 Drift in mid-run");
        report.Text($"Planned for the first lengths (our exact planner, capacity); from request {Before} of {Count} on the second ones come. The period is chosen from capacities alone: {Share} of what a plan made for the second lengths carries, or of what the first plan "
            + "carries of the first lengths if that is less. Re-planning watches the last 64 completed requests. A new plan is taken up at once: devices load weights that they lack at 1 GB/s, replicas that it keeps go on, the caches of broken-up ones are computed anew. "
            + "From scratch: the exact planner. Few moves: `Replanner`, the cheapest plan of 95 % of the best capacity, and only where the plan in force carries less than the load and a tenth.");
        var rows = new List<string[]>();
        foreach ((string name, (int Prompt, int Output) first, (int Prompt, int Output) second) in new[]
        {
            ("922 + 230 to 230 + 922", (922, 230), (230, 922)), ("230 + 922 to 922 + 230", (230, 922), (922, 230)), ("2048 + 100 to 256 + 1024", (2048, 100), (256, 1024)),
        })
        {
            rows.AddRange(Case(cluster, name, first, second));
        }

        report.Table(["drift", "period, s", "load over capacity after it, kept plan / new plan", "", "plans made", "mean waiting, s", "mean end-to-end, s", "P99 end-to-end, s"], rows);
    }

    private static List<string[]> Case(Cluster cluster, string name, (int Prompt, int Output) first, (int Prompt, int Output) second)
    {
        DeploymentPlan? PlanFor(double prompt, double output, double rate) => DeploymentPlanner.Plan(cluster, PaperSetting.Model, At(prompt, output, rate), new PlannerOptions()).Plan;
        double Capacity(DeploymentPlan plan, double prompt, double output) => new PlanEvaluator(cluster, PaperSetting.Model, At(prompt, output, 1)).Capacity(plan);
        DeploymentPlan kept = PlanFor(first.Prompt, first.Output, 1)!, made = PlanFor(second.Prompt, second.Output, 1)!;
        double before = Capacity(kept, first.Prompt, first.Output), old = Capacity(kept, second.Prompt, second.Output), best = Capacity(made, second.Prompt, second.Output);
        double rate = Share * Math.Min(before, best);
        SimulatedRequest[] requests = [.. Enumerable.Range(0, Count).Select(i => new SimulatedRequest(i / rate, i < Before ? first.Prompt : second.Prompt, i < Before ? first.Output : second.Output))];
        SimulationOptions keep = Systems.AllLevers with { BootstrapCount = 400 };
        SimulationOptions With(Func<ReplanContext, DeploymentPlan?> planner) => keep with { Replan = new ReplanOptions { PlannedOutputRatio = (double)first.Output / first.Prompt, Planner = planner } };
        (string, SimulationOptions)[] runs =
        [
            ("kept", keep),
            ("new, from scratch", With(c => PlanFor(c.MeanPromptTokens, c.MeanOutputTokens, Math.Max(c.RequestsPerSecond, 0.1)))),
            ("new, few moves", With(c => Capacity(c.Plan, c.MeanPromptTokens, c.MeanOutputTokens) > 1.1 * rate
                ? null : Replanner.Replan(c.Plan, cluster, PaperSetting.Model, At(c.MeanPromptTokens, c.MeanOutputTokens, Math.Max(c.RequestsPerSecond, 0.1))).Result.Plan)),
        ];
        return [.. runs.Select(run =>
        {
            ServingReport r = ClusterSimulator.Run(kept, cluster, PaperSetting.Model, requests, run.Item2);
            return (string[])[name, Describe.Number(1 / rate, "F3"), $"{Describe.Number(rate / old)} / {Describe.Number(rate / best)}", run.Item1, $"{r.ReplanCount}",
                Describe.WithInterval(r.WaitingSeconds), Describe.WithInterval(r.EndToEndSeconds), Describe.Number(r.EndToEndSeconds.P99)];
        })];
    }

    private static Workload At(double prompt, double output, double rate) => PaperSetting.Workload(Math.Max(1, (int)prompt), Math.Max(1, (int)output), 1 / rate);
}
