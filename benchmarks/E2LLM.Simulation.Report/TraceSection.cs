using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Simulation.Reporting;
using E2LLM.Simulation.Workloads;

namespace E2LLM.Simulation.Report;

/// <summary>Sections 4.1 to 4.3: real traces on the paper's cluster, and other ratios of input to output. Stateless.</summary>
internal static class TraceSection
{
    private const int TraceCount = 4000, PlanningCount = 1500;
    private static readonly double[] Loads = [0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2];
    private static readonly string[] Order = [Systems.E2llm, Systems.B0, Systems.B1, Systems.B2, Systems.Ours];

    public static void Trace(ReportWriter report, Cluster cluster, string section, string name, string data)
    {
        string path = Path.Combine(data, "traces", $"AzureLLMInferenceTrace_{name}.csv");
        if (!File.Exists(path))
        {
            report.Text($"## {section} Azure {name}: skipped, no {path}");
            return;
        }

        using StreamReader reader = File.OpenText(path);
        Trace(report, cluster, section, name, RequestTrace.Read(reader, TraceCount));
    }

    private static void Trace(ReportWriter report, Cluster cluster, string section, string name, IReadOnlyList<SimulatedRequest> trace)
    {
        // B2's saturated rate is the unit; it is found with the plan that B2 chooses near its first guess.
        double own = RequestTrace.MeanRate(trace);
        Systems SystemsAt(double rate)
        {
            IReadOnlyList<SimulatedRequest> scaled = RequestTrace.Scale(trace, rate / own);
            return new Systems(cluster, PaperSetting.Model, WorkloadOf(scaled), [.. scaled.Take(PlanningCount)], shortlist: 80, sampleCount: 300, rounds: 3, seeds: 3, starts: 2);
        }

        double guess = SaturatedRate(cluster, SystemsAt(own).StrongSplitwise()!, trace);
        double unit = SaturatedRate(cluster, SystemsAt(0.9 * guess).StrongSplitwise()!, trace);
        report.Text($"## {section} Azure {name}: the first {trace.Count} requests, {Describe.Number(own)} requests/s in the trace, replayed at 0.5 to 1.2 of B2's largest rate ({Describe.Number(unit)} requests/s, what it completes of the trace when all of it waits)");
        report.Text($"Every system plans for each load; the simulated choices see the first {PlanningCount} requests, the table is over all {trace.Count}.");
        var chosen = new List<SystemUnderTest>[Loads.Length];
        var runs = new ServingReport[Loads.Length, Order.Length];
        Parallel.For(0, Loads.Length, new ParallelOptions { MaxDegreeOfParallelism = 2 }, i =>
        {
            Systems planned = SystemsAt(Loads[i] * unit);
            List<SystemUnderTest> all = planned.All();
            chosen[i] = [.. Order.Select(o => all.Find(s => s.Name == o)!)];
            for (int k = 0; k < Order.Length; k++)
            {
                runs[i, k] = planned.Measure(chosen[i][k], RequestTrace.Scale(trace, Loads[i] * unit / own));
            }
        });
        List<SystemUnderTest> systems = chosen[^4];
        Table("mean waiting, s", r => Describe.WithInterval(r.WaitingSeconds));
        Table("P99 time to first token, s", r => Describe.Number(r.TtftSeconds.P99));
        Table("mean end-to-end, s", r => Describe.Number(r.EndToEndSeconds.Mean));
        Goals();
        report.Plot($"azure-{name}", new SvgPlot($"Azure {name}: mean waiting time", "share of B2's largest rate", "seconds",
            [.. systems.Select((s, k) => new PlotSeries(s.Name, [.. Loads.Select((l, i) => (l, Math.Max(0.01, runs[i, k].WaitingSeconds.Mean)))]))]) { LogY = true });
        void Table(string title, Func<ServingReport, string> cell) => report.Table([$"load ({title})", .. systems.Select(s => s.Name)],
            Loads.Select((l, i) => (string[])[Describe.Number(l, "F1"), .. systems.Select((_, k) => cell(runs[i, k]))]));

        void Goals()
        {
            int ours = systems.FindIndex(s => s.Name == Systems.Ours);
            report.Table(["load", .. new[] { Systems.B0, Systems.B1, Systems.B2 }.Select(n => $"wait, P99 TTFT below {n.Split(' ')[0]}")], Loads.Select((l, i) => (string[])[Describe.Number(l, "F1"),
                .. new[] { Systems.B0, Systems.B1, Systems.B2 }.Select(n => systems.FindIndex(s => s.Name == n) is var k and >= 0
                    ? $"{1 - (runs[i, ours].WaitingSeconds.Mean / runs[i, k].WaitingSeconds.Mean):P0}, {1 - (runs[i, ours].TtftSeconds.P99 / runs[i, k].TtftSeconds.P99):P0}" : "-")]));
            report.Text("Goals: at 0.8 and above mean wait at least 50 % and P99 TTFT at least 30 % below B0 and B1; below 0.8 no worse. B2 is printed beside them.");
        }
    }

    public static Workload WorkloadOf(IReadOnlyList<SimulatedRequest> trace) => new()
    {
        Arrivals = ArrivalProcess.Trace([.. trace.Select(r => r.ArrivalSeconds)]),
        PromptTokens = LengthDistribution.Empirical([.. trace.Select(r => r.PromptTokens)]),
        OutputTokens = LengthDistribution.Empirical([.. trace.Select(r => r.OutputTokens)]),
        Targets = new ServiceTargets { MinimumDecodeTokensPerSecond = PaperSetting.MinimumDecodeTokensPerSecond },
    };

    // Completions per second between the first tenth and the last, when the whole trace waits at the door.
    private static double SaturatedRate(Cluster cluster, SystemUnderTest system, IReadOnlyList<SimulatedRequest> trace)
    {
        SimulatedRequest[] atOnce = [.. trace.Take(2000).Select(r => r with { ArrivalSeconds = 0 })];
        double[] ends = [.. ClusterSimulator.Run(system.Plan, cluster, PaperSetting.Model, atOnce, system.Options).Requests.Select(r => r.EndSeconds).Order()];
        int low = ends.Length / 10, high = ends.Length * 9 / 10;
        return (high - low) / (ends[high] - ends[low]);
    }

    public static void Ratios(ReportWriter report, Cluster cluster)
    {
        report.Text("## 4.3 Input to output from 1:8 to 8:1");
        report.Text("1,152 tokens a request, period 0.9 of B2's capacity (cost model), n = 150. Mean waiting / mean end-to-end, seconds.");
        (int Prompt, int Output, string Name)[] ratios = [(128, 1024, "1:8"), (230, 922, "1:4"), (384, 768, "1:2"), (576, 576, "1:1"), (768, 384, "2:1"), (922, 230, "4:1"), (1024, 128, "8:1")];
        var rows = new string[ratios.Length][];
        Parallel.For(0, ratios.Length, new ParallelOptions { MaxDegreeOfParallelism = 2 }, i =>
        {
            (int prompt, int output, string name) = ratios[i];
            var space = new PlanSpace(cluster, PaperSetting.Model, PaperSetting.Workload(prompt, output, 1), new PlannerOptions());
            double period = 1 / (0.9 * space.Best(new PlanRule { Mixed = false, FastestPrefill = true }, 1, c => -c.Capacity)[0].Capacity);
            SimulatedRequest[] requests = PaperSetting.Requests(prompt, output, period, 150);
            var systems = new Systems(cluster, PaperSetting.Model, PaperSetting.Workload(prompt, output, period), requests, shortlist: 40, rounds: 3, seeds: 3, starts: 4);
            Dictionary<string, ServingReport> reports = systems.All().ToDictionary(s => s.Name, s => systems.Measure(s, requests));
            rows[i] = [name, Describe.Number(period, "F3"), .. Order.Select(o => reports.TryGetValue(o, out ServingReport? r) ? $"{Describe.Number(r.WaitingSeconds.Mean)} / {Describe.Number(r.EndToEndSeconds.Mean)}" : "-")];
        });
        report.Table(["input : output", "period, s", .. Order], rows);
    }
}
