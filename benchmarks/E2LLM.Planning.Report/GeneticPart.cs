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
        text.AppendLine("| population x generations | runs | optimal | mean gap | worst gap | mean s | s to the optimum, with restarts |\n|---|---|---|---|---|---|---|");
        // The code of both searches is compiled and optimised before either is timed.
        _ = Run(40, 40, 10, 2);
        var bars = new List<(string, double)>();
        (int Population, int Generations) setting = (0, 0);
        double shortest = double.PositiveInfinity;
        foreach ((int population, int generations, int instances, int seeds) in new[] { (20, 20, 10, 5), (40, 40, 10, 5), (80, 80, 10, 5), (160, 160, 10, 3), (320, 80, 10, 3) })
        {
            Result sweep = Run(population, generations, instances, seeds);
            double expected = sweep.GeneticSeconds / Math.Max(0.5, sweep.Optimal);
            text.AppendLine($"| {population} x {generations} | {sweep.Runs} | {100.0 * sweep.Optimal / sweep.Runs:F0} % | {sweep.MeanGap * 100:F2} % | {sweep.WorstGap * 100:F2} % | {sweep.GeneticSeconds / sweep.Runs:F3} | {(sweep.Optimal > 0 ? $"{expected:F2}" : "-")} |");
            bars.Add(($"{population} x {generations}", sweep.MeanGap * 100));
            if (sweep.Optimal > 0 && expected < shortest)
            {
                (setting, shortest) = ((population, generations), expected);
            }
        }

        Result full = Run(setting.Population, setting.Generations, Instances, Seeds);
        double exact = full.ExactSeconds / Instances, reach = full.Optimal > 0 ? full.ReachSeconds / full.Optimal : double.NaN, restarts = full.GeneticSeconds / Math.Max(1, full.Optimal);
        int better = full.Runs - full.Optimal - full.ExactWorse;
        text.AppendLine();
        text.AppendLine($"{Instances} instances x {Seeds} seeds at {setting.Population} x {setting.Generations}, the setting that reaches the optimum in the least expected time: the exact search is worse in {full.ExactWorse} runs, strictly better in {better} of {full.Runs}");
        text.AppendLine($"({100.0 * better / full.Runs:F0} %), mean gap of the GA {full.MeanGap * 100:F2} %, worst {full.WorstGap * 100:F2} %. Exact, with proof: {exact * 1000:F2} ms per instance (mean of the medians of 5).");
        text.AppendLine($"**To equal quality**: expected time of the GA run again and again with new seeds until it has the optimum (all its seconds over its successes) {restarts:F3} s, {restarts / exact:F0} times the exact search's (goal: 20).");
        text.AppendLine($"In the {full.Optimal} runs that had it, it came after {reach * 1000:F1} ms in the mean, {reach / exact:F1} times the exact search's whole time. Both use the same compiled split and the GA remembers groups, so this compares searches, not implementations.");
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
            var options = new PlannerOptions { AllowMixed = false, MaxDecodeSlots = 16, ExplainMemory = false };
            double best = DeploymentPlanner.Plan(cluster, model, workload, options).Plan?.Predicted.RequestsPerSecond ?? 0;
            var times = new double[5];
            var watch = Stopwatch.StartNew();
            for (int i = 0; i < times.Length; i++)
            {
                watch.Restart();
                _ = DeploymentPlanner.Plan(cluster, model, workload, options);
                times[i] = watch.Elapsed.TotalSeconds;
            }

            Array.Sort(times);
            exactSeconds += times[times.Length / 2];
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
