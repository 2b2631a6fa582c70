using E2LLM.Costs;
using E2LLM.Simulation.Workloads;

namespace E2LLM.Simulation.Report;

/// <summary>Section 4.5: how many requests per second each system serves in time, with plans chosen for just that where a system chooses by simulation. Stateless.</summary>
internal static class GoodputSection
{
    private const int TraceCount = 1000, PlanningCount = 600;
    private const double TtftTarget = 5, TpotTarget = 1.0 / 15, Attainment = 0.9;
    private static readonly double[] PlannedShares = [0.1, 0.25, 0.5, 1];
    private static readonly string[] Order = [Systems.E2llm, Systems.B0, Systems.B1, Systems.B2, Systems.Ours];
    private static readonly ServiceTargets Targets = new() { TtftSeconds = TtftTarget, TpotSeconds = TpotTarget, Attainment = Attainment };

    public static void Write(ReportWriter report, Cluster cluster, string data)
    {
        report.Text("## 4.5 Goodput");
        report.Text($"Largest rate at which {Attainment:P0} of the first {TraceCount} requests of a trace have TTFT at most {TtftTarget} s and TPOT at most {Describe.Number(TpotTarget * 1000, "F1")} ms (15 tokens/s). Goal: 1.3 times E2LLM as published. "
            + $"Every system plans for {string.Join(", ", PlannedShares)} of the trace's own rate and takes the best of these plans. B2 and ours then go on step by step (plans, routers, chunks, order by length) for goodput itself; ours also begins "
            + "at B2's plan, which its rules allow.");
        foreach (string name in (string[])["conv", "code"])
        {
            string path = Path.Combine(data, "traces", $"AzureLLMInferenceTrace_{name}.csv");
            if (!File.Exists(path))
            {
                report.Text($"Azure {name}: skipped, no {path}");
                continue;
            }

            using StreamReader reader = File.OpenText(path);
            Trace(report, cluster, name, RequestTrace.Read(reader, TraceCount));
        }
    }

    private static void Trace(ReportWriter report, Cluster cluster, string name, IReadOnlyList<SimulatedRequest> trace)
    {
        double own = RequestTrace.MeanRate(trace);
        var chosen = new List<SystemUnderTest>[PlannedShares.Length];
        var planners = new Systems[PlannedShares.Length];
        Parallel.For(0, PlannedShares.Length, new ParallelOptions { MaxDegreeOfParallelism = 2 }, i =>
        {
            IReadOnlyList<SimulatedRequest> scaled = RequestTrace.Scale(trace, PlannedShares[i]);
            planners[i] = new Systems(cluster, PaperSetting.Model, TraceSection.WorkloadOf(scaled), [.. scaled.Take(PlanningCount)], shortlist: 60, sampleCount: 200, rounds: 2, seeds: 3, starts: 2);
            chosen[i] = planners[i].All();
        });

        double AttainedAt(SystemUnderTest system, double rate)
        {
            ServingReport r = planners[0].Measure(system with { Options = system.Options with { BootstrapCount = 0 } }, RequestTrace.Scale(trace, rate / own), Targets);
            return r.DroppedCount > 0 ? 0 : r.Attainment;
        }

        double Goodput(SystemUnderTest system)
        {
            double low = 0, high = 3 * own;
            for (int i = 0; i < 12; i++)
            {
                double middle = (low + high) / 2;
                (low, high) = AttainedAt(system, middle) >= Attainment ? (middle, high) : (low, middle);
            }

            return low;
        }

        (SystemUnderTest System, double Rate) Best(IEnumerable<SystemUnderTest> systems) =>
            systems.DistinctBy(s => (Describe.Plan(s.Plan), s.Options)).Select(s => (s, Goodput(s))).MaxBy(x => x.Item2);

        var rows = new List<(string Name, SystemUnderTest System, double Rate)>();
        (SystemUnderTest System, double Rate)? strong = null;
        foreach (string system in Order)
        {
            IEnumerable<SystemUnderTest> candidates = chosen.SelectMany(c => c).Where(s => s.Name == system);
            if (system == Systems.Ours && strong is { } rival)
            {
                candidates = candidates.Append(rival.System with { Name = system });
            }

            (SystemUnderTest System, double Rate) best = Best(candidates);
            if (system is Systems.B2 or Systems.Ours)
            {
                best = planners[1].Climb(best.System, best.Rate, Goodput, AttainedAt, Attainment);
                strong = system == Systems.B2 ? best : strong;
            }

            rows.Add((system, best.System, best.Rate));
        }

        report.Text($"Azure {name}, {Describe.Number(own)} requests/s in the trace:");
        report.Table(["system", "goodput, requests/s", "times E2LLM", "router, chunks, weight of length", "plan"], rows.Select(r => (string[])[r.Name, Describe.Number(r.Rate, "F3"), Describe.Number(r.Rate / rows[0].Rate),
            $"{SimulationOptions.NameOf(r.System.Options.Router)}, {r.System.Options.ChunkTokens}/{r.System.Options.MixedChunkTokens}, {Describe.Number(r.System.Options.LengthWeight, "F0")}", Describe.Plan(r.System.Plan)]));
    }
}
