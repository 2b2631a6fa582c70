using System.Collections.Concurrent;
using System.Globalization;
using E2LLM.Costs;
using E2LLM.Simulation.Validation;

namespace E2LLM.Simulation.Report;

/// <summary>Sections 3.1 to 3.3: the paper's setting near saturation, lever by lever, and on other devices. Stateless.</summary>
internal static class PaperStudies
{
    public static void NearSaturation(ReportWriter report, Cluster cluster)
    {
        report.Text("## 3.1 Near the saturation of E2LLM's plan");
        report.Text("Utilisation = arrival rate over the capacity of E2LLM's plan (median seed, cost model). Goal: waiting at least 20 % below E2LLM as published from 0.8 to 1.05; beside it what its best seed waits, and the bound on end-to-end of the goals above, which no plan and no policy goes below.");
        (string Name, int Prompt, int Output, double Load, int Count)[] cases =
            [.. PaperSetting.Lengths.SelectMany(l => new[] { 150, 1000 }.SelectMany(n => new[] { 0.8, 0.9, 1.0, 1.05 }.Select(u => (l.Name, l.Prompt, l.Output, u, n))))];
        var rows = new string[cases.Length][];
        Parallel.For(0, cases.Length, new ParallelOptions { MaxDegreeOfParallelism = 2 }, i =>
        {
            (string name, int prompt, int output, double load, int count) = cases[i];
            var any = new Systems(cluster, PaperSetting.Model, PaperSetting.Workload(prompt, output, 1), PaperSetting.Requests(prompt, output, 1, 1));
            double period = 1 / (load * any.PublishedE2llm()!.Plan.Predicted.RequestsPerSecond);
            SimulatedRequest[] requests = PaperSetting.Requests(prompt, output, period, count);
            var systems = new Systems(cluster, PaperSetting.Model, PaperSetting.Workload(prompt, output, period), requests);
            SystemUnderTest own = systems.Own()!;
            ServingReport e2llm = systems.Measure(systems.PublishedE2llm()!, requests), ours = systems.Measure(own, requests);
            double lucky = systems.PublishedSeeds()[0].Waiting;
            double cut = 1 - (ours.WaitingSeconds.Mean / e2llm.WaitingSeconds.Mean);
            rows[i] = [name, $"{count}", Describe.Number(load), Describe.Number(period, "F3"), Describe.WithInterval(e2llm.WaitingSeconds), Describe.Number(lucky), Describe.WithInterval(ours.WaitingSeconds), $"{cut:P0}",
                Describe.Number(e2llm.EndToEndSeconds.Mean), Describe.Number(ours.EndToEndSeconds.Mean), Describe.Number(new ServiceBound(cluster, PaperSetting.Model, prompt, output, period, count).MeanEndToEndSeconds()),
                cut >= 0.2 ? "yes" : "no", $"{SimulationOptions.NameOf(own.Options.Router)} {own.Options.ChunkTokens}/{own.Options.MixedChunkTokens}", Describe.Plan(own.Plan)];
        });
        report.Table(["workload", "n", "utilisation", "period, s", "E2LLM wait", "its best seed", "our wait", "below", "E2LLM end-to-end", "our end-to-end", "bound", "goal", "router", "our plan"], rows);
    }

    public static void Ablation(ReportWriter report, Cluster cluster)
    {
        report.Text("## 3.2 Ablation (n = 150, mean waiting / mean end-to-end, seconds)");
        report.Text("One lever off at a time, on every side; first the levers of the runtime, the plan kept, then those of the choice of the plan, which only ours and B2 have (B2 has pure roles by its rule). E2LLM has its median seed.");
        (string Lever, Func<SystemUnderTest, SystemUnderTest> Off)[] levers =
        [
            ("all on", s => s),
            ("chunked prefill off", s => s with { Options = s.Options with { Batching = PrefillBatching.WholePrompts } }),
            ("overlapped push off", s => s with { Options = s.Options with { KvPush = KvPush.AfterPrefill } }),
            ("JSQ by estimated wait", s => s with { Options = s.Options with { Router = RouterKind.JsqWait } }),
            ("routing by added rate", s => s with { Options = s.Options with { Router = RouterKind.AddedRate } }),
            ("routing by least delay", s => s with { Options = s.Options with { Router = RouterKind.LeastDelay } }),
            ("JSQ by requests", s => s with { Options = s.Options with { Router = RouterKind.JsqCount } }),
            ("mixed pool", s => s with { Options = s.Options with { Router = RouterKind.MixedPool } }),
            ("one lane (no micro-batches)", s => s with { Options = s.Options with { LaneCount = 1 } }),
            ("at most 16 sequences", s => s with { Plan = s.Plan with { Replicas = [.. s.Plan.Replicas.Select(r => r with { DecodeSlots = Math.Min(r.DecodeSlots, 16), DecodeTokensPerSecond = 0 })] } }),
            ("paged memory", s => s with { Options = s.Options with { KvAdmission = KvAdmission.Paged } }),
        ];
        foreach ((string workload, int prompt, int output, double period) in ((string, int, int, double)[])[("extended", 576, 588, 0.5), ("custom", 2284, 1004, 1)])
        {
            SimulatedRequest[] requests = PaperSetting.Requests(prompt, output, period, 150);
            var systems = new Systems(cluster, PaperSetting.Model, PaperSetting.Workload(prompt, output, period), requests);
            Dictionary<string, SystemUnderTest> all = new[] { systems.PublishedE2llm(), systems.StrongSplitwise(), systems.Own() }.OfType<SystemUnderTest>().ToDictionary(s => s.Name);
            string Cell(string name, Func<SystemUnderTest, SystemUnderTest> off)
            {
                SystemUnderTest system = off(all[name]);
                return Pair(ClusterSimulator.Run(system.Plan, cluster, PaperSetting.Model, requests, system.Options));
            }

            report.Table([$"{workload} {period} s", Systems.Ours, Systems.B2, Systems.E2llm],
                levers.Select(l => (string[])[l.Lever, Cell(Systems.Ours, l.Off), Cell(Systems.B2, l.Off), Cell(Systems.E2llm, l.Off)]).Concat(PlanLevers()));

            // The two weaker forms of Splitwise have policies of their own; here they get ours too, one router after the other.
            SystemUnderTest[] weak = [.. new[] { systems.WholeModelSplitwise(), systems.GreedySplitwise() }.OfType<SystemUnderTest>()];
            report.Table([$"{workload} {period} s", .. weak.Select(w => w.Name)],
                new (string, SimulationOptions?)[] { ("as in the tables", null) }.Concat(systems.RuntimeLevers.Select(p => ($"every lever of the runtime, {SimulationOptions.NameOf(p.Router)}", (SimulationOptions?)p)))
                    .Select(row => (string[])[row.Item1, .. weak.Select(w => Pair(ClusterSimulator.Run(w.Plan, cluster, PaperSetting.Model, requests, row.Item2 ?? w.Options)))]));

            IEnumerable<string[]> PlanLevers()
            {
                string Of(SystemUnderTest? system) => system is null ? "-" : Pair(ClusterSimulator.Run(system.Plan, cluster, PaperSetting.Model, requests, system.Options));
                yield return ["pure roles only", Of(systems.OwnUnder(new PlanRule { Mixed = false })), "(its rule)", "(its rule)"];
                yield return ["every device used", Of(systems.OwnUnder(new PlanRule { UseAllDevices = true })), Of(systems.OwnUnder(new PlanRule { UseAllDevices = true, Mixed = false, FastestPrefill = true })), "(its rule)"];
                yield return ["single devices only", Of(systems.OwnUnder(new PlanRule { MaxStages = 1 })), Of(systems.OwnUnder(new PlanRule { MaxStages = 1, Mixed = false, FastestPrefill = true })), "-"];
                yield return ["chosen by capacity, not simulated", Of(systems.OwnByCapacity()), Of(systems.StrongByCapacity()), "-"];
            }
        }
    }

    private static string Pair(ServingReport r) => $"{Describe.Number(r.WaitingSeconds.Mean)} / {Describe.Number(r.EndToEndSeconds.Mean)}";

    public static void Draws(ReportWriter report, Cluster cluster, int draws, string path)
    {
        report.Text($"## 3.3 Other devices: {draws} draws of independent +-30 % on every speed");
        report.Text("Every system plans anew for each draw (groups of at most three devices, a shortlist of 12 and two steps for the simulated choices, three seeds for E2LLM); workload and period go round the four busiest settings; n = 150.");
        (string Name, int Prompt, int Output, double Period)[] settings = [("extended", 576, 588, 0.5), ("extended", 576, 588, 1), ("custom", 2284, 1004, 1), ("custom", 2284, 1004, 2)];
        report.Text("Every figure stands in `simulation/draws.csv`; a run takes up the draws that are not in it yet.");
        ConcurrentDictionary<int, Dictionary<string, (double Wait, double EndToEnd)>> outcomes = Read(path);
        Parallel.For(0, draws, new ParallelOptions { MaxDegreeOfParallelism = 2 }, i =>
        {
            if (outcomes.ContainsKey(i))
            {
                return;
            }

            var random = new E2LLM.Simulation.Events.SeededRandom(1, (ulong)(100 + i));
            double Factor() => 0.7 + (0.6 * random.NextDouble());
            Cluster drawn = cluster with
            {
                Devices = [.. cluster.Devices.Select(d => d with { ComputeFlopsPerSecond = d.ComputeFlopsPerSecond * Factor(), MemoryBytesPerSecond = d.MemoryBytesPerSecond * Factor() })],
            };
            (_, int prompt, int output, double period) = settings[i % settings.Length];
            SimulatedRequest[] requests = PaperSetting.Requests(prompt, output, period, 150);
            var systems = new Systems(drawn, PaperSetting.Model, PaperSetting.Workload(prompt, output, period), requests, shortlist: 12, maxStages: 3, rounds: 2, seeds: 3, starts: 3);
            outcomes[i] = new SystemUnderTest?[] { systems.PublishedE2llm(), systems.WholeModelSplitwise(), systems.GreedySplitwise(), systems.StrongSplitwise(), systems.Own() }
                .OfType<SystemUnderTest>().ToDictionary(s => s.Name, s =>
                {
                    ServingReport r = ClusterSimulator.Run(s.Plan, drawn, PaperSetting.Model, requests, s.Options);
                    return (r.WaitingSeconds.Mean, r.EndToEndSeconds.Mean);
                });
            lock (outcomes)
            {
                File.AppendAllLines(path, outcomes[i].Select(o => string.Create(CultureInfo.InvariantCulture, $"{i},{o.Value.Wait:R},{o.Value.EndToEnd:R},{o.Key}")));
            }
        });
        string[] others = [Systems.B0, Systems.B1, Systems.B2, Systems.E2llm];
        report.Table(["ours against", "draws", "waits less or as long", "end-to-end no worse", "median cut in waiting", "worst draw, waiting"], others.Select(name =>
        {
            (double Wait, double EndToEnd, double Cut)[] pairs = [.. outcomes.Values.Where(o => o.ContainsKey(name) && o.ContainsKey(Systems.Ours)).Select(o =>
                (o[Systems.Ours].Wait - o[name].Wait, o[Systems.Ours].EndToEnd - o[name].EndToEnd, 1 - (o[Systems.Ours].Wait / Math.Max(o[name].Wait, 1e-3))))];
            double[] cuts = [.. pairs.Select(p => p.Cut).Order()];
            return cuts.Length == 0 ? [name, "0", "-", "-", "-", "-"] : (string[])[name, $"{pairs.Length}", $"{pairs.Count(p => p.Wait <= 0.005)}", $"{pairs.Count(p => p.EndToEnd <= 0.005)}", $"{cuts[cuts.Length / 2]:P0}", $"{cuts[0]:P0}"];
        }).ToArray());
    }

    private static ConcurrentDictionary<int, Dictionary<string, (double Wait, double EndToEnd)>> Read(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        IEnumerable<string[]> lines = File.Exists(path) ? File.ReadLines(path).Select(line => line.Split(',', 4)) : [];
        return new(lines.GroupBy(cells => int.Parse(cells[0], CultureInfo.InvariantCulture)).ToDictionary(draw => draw.Key, draw => draw.ToDictionary(
            cells => cells[3], cells => (double.Parse(cells[1], CultureInfo.InvariantCulture), double.Parse(cells[2], CultureInfo.InvariantCulture)))));
    }
}
