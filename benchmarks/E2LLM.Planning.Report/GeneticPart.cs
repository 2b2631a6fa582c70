using System.Diagnostics;
using System.Text;
using E2LLM.Costs;
using E2LLM.Planning.Clustering;
using E2LLM.Tests.Planning;

namespace E2LLM.Planning.Report;

/// <summary>Against the paper's search, rebuilt.</summary>
internal static class GeneticPart
{
    private const int Instances = 30;
    private const int Seeds = 30;

    public static void Write(StringBuilder text, string folder)
    {
        text.AppendLine("## 3. Against E2LLM's genetic search\n");
        text.AppendLine("Our rebuild of its GA + DP (`--planner e2llm`; the paper gives neither population nor generations), fresh caches for every run, 10 devices, 24 layers, at most 16 decode slots as in the paper. Gap: how");
        text.AppendLine("far the GA's capacity stays below the exact optimum.\n");
        text.AppendLine("| population x generations | runs | optimal | mean gap | worst gap | mean s |\n|---|---|---|---|---|---|");
        var bars = new List<(string, double)>();
        foreach ((int population, int generations, int instances, int seeds) in new[] { (20, 20, 10, 5), (40, 40, 10, 5), (80, 80, 10, 5), (160, 160, 10, 3) })
        {
            Result sweep = Run(population, generations, instances, seeds);
            text.AppendLine($"| {population} x {generations} | {sweep.Runs} | {100.0 * sweep.Optimal / sweep.Runs:F0} % | {sweep.MeanGap * 100:F2} % | {sweep.WorstGap * 100:F2} % | {sweep.GeneticSeconds / sweep.Runs:F3} |");
            bars.Add(($"{population} x {generations}", sweep.MeanGap * 100));
        }

        Result full = Run(80, 80, Instances, Seeds);
        text.AppendLine();
        text.AppendLine($"{Instances} instances x {Seeds} seeds at 80 x 80: the exact search is worse in {full.ExactWorse} runs, strictly better in {full.Runs - full.Optimal - full.ExactWorse} of {full.Runs}");
        text.AppendLine($"({100.0 * (full.Runs - full.Optimal - full.ExactWorse) / full.Runs:F0} %), mean gap of the GA {full.MeanGap * 100:F2} %, worst {full.WorstGap * 100:F2} %. Exact, with proof: {full.ExactSeconds / Instances:F4} s per instance in the mean. In the {full.Optimal} runs");
        text.AppendLine($"that reached the optimum the GA needed {(full.Optimal > 0 ? full.ReachSeconds / full.Optimal : 0):F4} s to reach it: {(full.Optimal > 0 ? full.ReachSeconds / full.Optimal / (full.ExactSeconds / Instances) : 0):F1} times the exact search's whole time; the other runs never got there (goal: 20 times). Both use the same");
        text.AppendLine("compiled split and the GA remembers groups, so this compares searches, not implementations.");
        File.WriteAllText(Path.Combine(folder, "planning-genetic.svg"), Svg.Bars("Mean gap of the GA to the proved optimum, percent", bars));
        text.AppendLine("\n![gap of the GA](planning-genetic.svg)");
    }

    private sealed record Result(int Runs, int Optimal, int ExactWorse, double MeanGap, double WorstGap, double GeneticSeconds, double ExactSeconds, double ReachSeconds);

    private static Result Run(int population, int generations, int instances, int seeds)
    {
        int optimal = 0, worse = 0, runs = 0;
        double gaps = 0, worst = 0, geneticSeconds = 0, exactSeconds = 0, reach = 0;
        for (ulong instance = 1; instance <= (ulong)instances; instance++)
        {
            var random = new RandomInstances(instance + 300);
            Cluster cluster = random.Cluster(10, 0.6);
            ModelCost model = random.Model(24);
            Workload workload = random.Workload();
            var options = new PlannerOptions { AllowMixed = false, MaxDecodeSlots = 16 };
            var watch = Stopwatch.StartNew();
            double best = DeploymentPlanner.Plan(cluster, model, workload, options).Plan?.Predicted.RequestsPerSecond ?? 0;
            exactSeconds += watch.Elapsed.TotalSeconds;
            if (best == 0)
            {
                continue;
            }

            for (ulong seed = 1; seed <= (ulong)seeds; seed++)
            {
                var problem = new PlanningProblem(cluster, model, workload, options with { Seed = seed, GeneticPopulation = population, GeneticGenerations = generations });
                watch.Restart();
                double last = 0;
                var search = new GeneticSearch(problem, new GroupRates(problem), CancellationToken.None) { Improved = _ => last = watch.Elapsed.TotalSeconds };
                double value = search.Run(null).Value;
                geneticSeconds += watch.Elapsed.TotalSeconds;
                runs++;
                double gap = (best - value) / best;
                gaps += gap;
                worst = Math.Max(worst, gap);
                worse += gap < -1e-9 ? 1 : 0;
                if (Math.Abs(gap) <= 1e-9)
                {
                    optimal++;
                    reach += last;
                }
            }
        }

        return new Result(runs, optimal, worse, gaps / runs, worst, geneticSeconds, exactSeconds, reach);
    }
}
