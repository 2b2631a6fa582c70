using System.Diagnostics;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Simulation.Reporting;
using E2LLM.Simulation.SplitwiseSim;
using E2LLM.Simulation.Validation;

namespace E2LLM.Simulation.Report;

/// <summary>Whether the simulator is right, and how fast it is: sections 1, 2 and 5. Stateless.</summary>
internal static class ValidationSections
{
    private const int RecursionSeeds = 200;

    public static void Splitwise(ReportWriter report, string data)
    {
        report.Text("## 1. splitwise-sim, request by request");
        string folder = Path.Combine(data, "traces", "splitwise-sim");
        string[] stems = Directory.Exists(folder) ? [.. Directory.GetFiles(folder, "out_*.csv").Select(f => Path.GetFileNameWithoutExtension(f)[4..]).Order(StringComparer.Ordinal)] : [];
        if (stems.Length == 0)
        {
            report.Text($"Skipped: no fixtures under {folder}.");
            return;
        }

        report.Text("Largest difference of any time of any request (response, queue, TTFT, TBT, hand-over, start and end of both phases) between the unmodified simulator's output and ours; goal 1e-6 s.");
        report.Table(["reference run", "requests", "largest difference, s"], stems.Select(stem =>
        {
            SplitwiseFixture fixture = SplitwiseFixture.Load(folder, stem);
            double worst = fixture.Expected.Zip(fixture.Run()).Max(p => SplitwiseFixture.LargestDifference(p.First, p.Second));
            return new[] { stem, $"{fixture.Expected.Count}", worst.ToString("E1", System.Globalization.CultureInfo.InvariantCulture) };
        }));
    }

    public static void Queues(ReportWriter report, double effort)
    {
        report.Text("## 2. Closed forms");
        report.Text("Textbook queues run through the simulator that serves plans (a prompt's length is its service time). The rule, fixed before the data: mean wait in service times over all requests of seeds 1 to 5; none is dropped, "
            + "since a queue that begins empty forgets that within some hundred of these millions; 95 % interval by batch means, 40 batches for each seed, the five seeds together. Goal: the interval covers the closed form, its half-width at most 1 %. "
            + "One in twenty such intervals misses by chance. Whether a miss is chance or bias is told by two other judges: the same requests through Kiefer and Wolfowitz's recursion, which knows no events (the difference of both means is in the table), and "
            + $"that recursion over {RecursionSeeds} other seeds, whose own intervals must cover in 95 % of the cases.");
        (string Name, int Servers, bool Deterministic, double Load, double Count)[] cases =
        [
            ("M/M/1", 1, false, 0.5, 1.2e6), ("M/M/1", 1, false, 0.8, 4e6), ("M/M/1", 1, false, 0.9, 14e6),
            ("M/D/1", 1, true, 0.5, 0.5e6), ("M/D/1", 1, true, 0.8, 1.6e6), ("M/D/1", 1, true, 0.9, 5e6),
            ("M/M/4", 4, false, 0.5, 3e6), ("M/M/4", 4, false, 0.8, 6e6), ("M/M/4", 4, false, 0.9, 14e6),
        ];
        double worstLittle = 0;
        report.Table(["queue", "load", "closed form", "simulated", "half-width", "seeds whose own interval covers", "covered", "recursion on the same requests", "other seeds that cover"], cases.Select(c =>
        {
            double exact = c.Deterministic ? QueueExperiment.MD1(c.Load) : QueueExperiment.MMc(c.Servers, c.Load), sum = 0, squares = 0, recursion = 0;
            int own = 0, others = 0;
            for (ulong seed = 1; seed <= 5; seed++)
            {
                QueueOutcome o = QueueExperiment.Run(c.Servers, c.Load, c.Deterministic, (long)(c.Count * effort), seed);
                sum += o.MeanWaitSeconds / 5;
                squares += o.HalfWidthSeconds * o.HalfWidthSeconds / 25;
                own += o.Covers(exact) ? 1 : 0;
                worstLittle = Math.Max(worstLittle, o.LittleError);
                recursion = Math.Max(recursion, Math.Abs(o.MeanWaitSeconds - LindleyQueue.Run(c.Servers, c.Load, c.Deterministic, (long)(c.Count * effort), seed).MeanWaitSeconds));
            }

            Parallel.For(6, 6 + RecursionSeeds, new ParallelOptions { MaxDegreeOfParallelism = 2 }, seed =>
            {
                (double mean, double width) = LindleyQueue.Run(c.Servers, c.Load, c.Deterministic, (long)(c.Count * effort / 20), (ulong)seed);
                Interlocked.Add(ref others, Math.Abs(mean - exact) <= width ? 1 : 0);
            });

            double half = Math.Sqrt(squares);
            return new[] { c.Name, Describe.Number(c.Load, "F1"), Describe.Number(exact, "F4"), Describe.Number(sum, "F4"), $"{half / exact:P2}", $"{own} of 5", Math.Abs(sum - exact) <= half ? "yes" : "no",
                recursion.ToString("E1", System.Globalization.CultureInfo.InvariantCulture), $"{(double)others / RecursionSeeds:P1}" };
        }).ToArray());
        QueueOutcome line = QueueExperiment.Run([.. Enumerable.Range(0, 1000).Select(i => new SimulatedRequest(i * 0.5, 10_000_000, 0))]);
        report.Text($"Little's law, largest relative error of all these runs: {worstLittle.ToString("E1", System.Globalization.CultureInfo.InvariantCulture)}. Deterministic overload, n = 1000, service 1 s, period 0.5 s: "
            + $"mean wait {Describe.Number(line.MeanWaitSeconds, "F4")} s, the line (n - 1)/2 (1/mu - T) gives {Describe.Number(999 / 2.0 * 0.5, "F4")} s.");
    }

    public static void Speed(ReportWriter report, Cluster cluster, SystemUnderTest system, int count)
    {
        report.Text("## 5. Speed");
        report.Text("CPU seconds of this process for the run alone (no statistics), one thread. The plan is ours for extended, T = 1 s, on the seven devices. Memory: what the run allocated in all, and the largest working set of this process until then; "
            + "requests are drawn one by one, as a trace would be read.");
        var rows = new List<string[]>();
        foreach (int n in (int[])[count / 100, count / 10, count])
        {
            (double seconds, long events, long allocated) = Time(system.Plan, cluster, n, 1, system.Options);
            rows.Add([$"{n:N0}", $"{events:N0}", Describe.Number(seconds), $"{n / seconds * 60:N0}", $"{allocated / 1e6:F1} MB", $"{Process.GetCurrentProcess().PeakWorkingSet64 / 1e6:F0} MB"]);
        }

        report.Table(["requests", "events", "CPU s", "requests per minute of one core", "allocated by the run", "largest working set so far"], rows);
        rows.Clear();
        var points = new List<(double, double)>();
        foreach (int copies in (int[])[1, 2, 4, 8, 16])
        {
            (Cluster many, DeploymentPlan plan) = Repeat(cluster, system.Plan, copies);
            (double seconds, _, _) = Time(plan, many, count / 20, 1.0 / copies, system.Options);
            points.Add((7 * copies, seconds / (count / 20) * 1e6));
            rows.Add([$"{7 * copies}", $"{count / 20:N0}", Describe.Number(seconds), Describe.Number(points[^1].Item2, "F1")]);
        }

        report.Text("Growth with devices: copies of the plan side by side, load per device kept.");
        report.Table(["devices", "requests", "CPU s", "microseconds per request"], rows);
        report.Plot("speed", new SvgPlot("CPU time per request", "devices", "microseconds", [new PlotSeries("this simulator", points)]));
    }

    private static (double Seconds, long Events, long AllocatedBytes) Time(DeploymentPlan plan, Cluster cluster, int count, double period, SimulationOptions options)
    {
        IEnumerable<SimulatedRequest> requests = Enumerable.Range(0, count).Select(i => new SimulatedRequest(i * period, 576, 588));
        var simulation = ClusterSimulator.Prepare(plan, cluster, PaperSetting.Model, options);
        long allocated = GC.GetAllocatedBytesForCurrentThread();
        TimeSpan before = Process.GetCurrentProcess().TotalProcessorTime;
        simulation.Run(requests);
        return ((Process.GetCurrentProcess().TotalProcessorTime - before).TotalSeconds, simulation.EventCount, GC.GetAllocatedBytesForCurrentThread() - allocated);
    }

    private static (Cluster, DeploymentPlan) Repeat(Cluster cluster, DeploymentPlan plan, int copies) => (
        cluster with { Devices = [.. Enumerable.Range(0, copies).SelectMany(i => cluster.Devices.Select(d => d with { Name = $"{d.Name}#{i}" }))] },
        plan with
        {
            Replicas = [.. Enumerable.Range(0, copies).SelectMany(i => plan.Replicas.Select(r => r with
            {
                Name = $"{r.Name}#{i}",
                Stages = [.. r.Stages.Select(s => s with { Device = $"{s.Device}#{i}" })],
            }))],
        });
}
