using E2LLM.Costs;
using E2LLM.Simulation.Reporting;

namespace E2LLM.Simulation.Report;

/// <summary>Section 3: the paper's planning problem, with every system in its best honest form. Stateless.</summary>
internal static class PaperSection
{
    private static readonly string[] Order = [Systems.E2llm, Systems.EdgeShard, Systems.Colocated, Systems.B0, Systems.B1, Systems.B2, Systems.Ours];

    /// <summary>One setting: reports of all systems.</summary>
    private sealed record Setting(string Workload, int Prompt, int Output, double Period, int Count, List<(SystemUnderTest System, ServingReport Report)> Results)
    {
        public ServingReport? this[string name] => Results.Find(r => r.System.Name == name).Report;
    }

    public static void Write(ReportWriter report, Cluster cluster, int draws)
    {
        report.Text("## 3. The paper's setting");
        report.Text("Seven devices of arXiv 2606.03770 (`paper-testbed.json`: memory and link are the paper's, speeds are public specifications times a fixed efficiency, not tuned), GPT-OSS-20B, fixed prompts and outputs, fixed periods, at least 15 tokens/s. "
            + "This reproduces the paper's planning problem, not its testbed: the paper measured real devices, whose speeds it does not print; absolute seconds do not compare, rankings may. "
            + "Waiting = end-to-end minus the request's own service alone on the best route of the same plan: queueing, transfer wait, and the slow-down by sequences decoded in the same batch.");
        report.Text("Every planned system chooses from one space by exact search (all groupings, splits, roles and concurrencies; devices may stay idle), under its own rules:");
        report.Table(["system", "may choose", "runtime"], [
            [Systems.E2llm, "GA + DP of this library (`PlannerKind.E2llm`), pure roles, at most 16 sequences, all devices, smallest bottleneck", "JSQ by estimated wait, cache moved after the prompt"],
            [Systems.EdgeShard, "one replica of any devices, both phases", "chunked prefill"],
            [Systems.Colocated, "any groups, each serves both phases, largest capacity", "JSQ by tokens, chunked prefill"],
            [Systems.B0, "single devices that hold the model, prefill at least as fast as decode, largest capacity", "mixed pool, whole prompts up to 2048 tokens, cache pushed layer by layer"],
            [Systems.B1, "fastest devices to prefill until it is no longer the limit, rest decode, exact split", "as B0"],
            [Systems.B2, "any groups, pure roles, every prefill replica at least as fast as every decode replica; chosen by simulation on the very requests", "every lever of ours, or the mixed pool: the better"],
            [Systems.Ours, "any groups and roles, both phases too; chosen by simulation on the very requests", "chunked prefill, cache pushed layer by layer, least-delay routing (or any of the others: the better)"],
        ]);
        report.Text("B2 and ours are chosen by the smallest sum of mean end-to-end and mean waiting time; ours among those that are no worse than E2LLM and B2 in either, where there are any.");
        (string Name, int Prompt, int Output, double Period, int Count)[] settings =
            [.. new[] { 150, 1000 }.SelectMany(n => PaperSetting.Lengths.SelectMany(l => PaperSetting.Periods.Select(p => (l.Name, l.Prompt, l.Output, p, n))))];
        var results = new Setting[settings.Length];
        Parallel.For(0, settings.Length, new ParallelOptions { MaxDegreeOfParallelism = 2 }, i => results[i] = Run(cluster, settings[i]));
        foreach (int count in (int[])[150, 1000])
        {
            WaitTables(report, [.. results.Where(r => r.Count == count)], count);
        }

        Goals(report, results);
        Plans(report, [.. results.Where(r => r.Count == 150)]);
        NearSaturation(report, cluster);
        Ablation(report, cluster, [.. results.Where(r => r.Count == 150)]);
        Draws(report, cluster, draws);
    }

    private static Setting Run(Cluster cluster, (string Name, int Prompt, int Output, double Period, int Count) s)
    {
        SimulatedRequest[] requests = PaperSetting.Requests(s.Prompt, s.Output, s.Period, s.Count);
        var systems = new Systems(cluster, PaperSetting.Model, PaperSetting.Workload(s.Prompt, s.Output, s.Period), requests);
        return new Setting(s.Name, s.Prompt, s.Output, s.Period, s.Count, [.. systems.All().Select(x => (x, systems.Measure(x, requests)))]);
    }

    private static void WaitTables(ReportWriter report, Setting[] settings, int count)
    {
        report.Text($"### n = {count}: mean waiting time, seconds (95 % interval)");
        string[] header = ["workload, period", .. Order, "paper: E2LLM / Splitwise"];
        report.Table(header, settings.Select(s => (string[])[$"{s.Workload} {s.Period} s", .. Order.Select(o => s[o] is { } r ? Describe.WithInterval(r.WaitingSeconds) : "-"),
            PaperSetting.Published.TryGetValue((s.Workload, s.Period), out (double E2llm, double Splitwise) p) ? $"{p.E2llm} / {p.Splitwise}" : "-"]));
        report.Text($"### n = {count}: mean end-to-end time, seconds (95 % interval)");
        report.Table(["workload, period", .. Order], settings.Select(s => (string[])[$"{s.Workload} {s.Period} s", .. Order.Select(o => s[o] is { } r ? Describe.WithInterval(r.EndToEndSeconds) : "-")]));
        foreach (string workload in settings.Select(s => s.Workload).Distinct())
        {
            report.Plot($"wait-{workload}-{count}", new SvgPlot($"Mean waiting time, {workload}, n = {count}", "period, seconds", "seconds",
                [.. Order.Select(o => new PlotSeries(o, [.. settings.Where(s => s.Workload == workload && s[o] is not null).Select(s => (s.Period, Math.Max(s[o]!.WaitingSeconds.Mean, 0.01)))]))]) { LogY = true });
        }
    }

    // "Waits at all": more than 1 % of its own service time.
    private static void Goals(ReportWriter report, Setting[] settings)
    {
        report.Text("### Goals");
        report.Table(["setting", "below B0", "below B1", "wait vs B2", "end-to-end vs B2", "wait vs E2LLM", "end-to-end vs E2LLM", "missed"], settings.Select(s =>
        {
            ServingReport ours = s[Systems.Ours]!;
            var missed = new List<string>();
            string Half(string name)
            {
                if (s[name] is not { } other)
                {
                    return "-";
                }

                double cut = 1 - (ours.WaitingSeconds.Mean / other.WaitingSeconds.Mean);
                bool waits = other.WaitingSeconds.Mean > 0.01 * other.MeanServiceSeconds;
                if (waits ? cut < 0.5 : ours.WaitingSeconds.Mean > Math.Max(other.WaitingSeconds.Mean, 0.01 * ours.MeanServiceSeconds))
                {
                    missed.Add(name.Split(' ')[0]);
                }

                return waits ? $"{cut:P0}" : "(hardly waits)";
            }

            string NoWorse(string name, Func<ServingReport, double> metric, string label)
            {
                if (s[name] is not { } other)
                {
                    return "-";
                }

                double change = (metric(ours) - metric(other)) / Math.Max(metric(other), 1e-3);
                if (change > 0.001 && metric(ours) - metric(other) > 0.001)
                {
                    missed.Add($"{label} vs {name.Split(' ')[0]}");
                }

                return $"{change:+0.0%;-0.0%;0.0%}";
            }

            return (string[])[$"{s.Workload} {s.Period} s, n = {s.Count}", Half(Systems.B0), Half(Systems.B1),
                NoWorse(Systems.B2, r => r.WaitingSeconds.Mean, "wait"), NoWorse(Systems.B2, r => r.EndToEndSeconds.Mean, "end-to-end"),
                NoWorse(Systems.E2llm, r => r.WaitingSeconds.Mean, "wait"), NoWorse(Systems.E2llm, r => r.EndToEndSeconds.Mean, "end-to-end"),
                missed.Count == 0 ? "" : string.Join(", ", missed)];
        }).ToArray());
    }

    private static void Plans(ReportWriter report, Setting[] settings)
    {
        report.Text("### Plans (n = 150)");
        report.Text("P prefill, D decode, M both; number of decode slots; devices with their number of layers.");
        report.Table(["setting", "system", "router", "plan"], settings.SelectMany(s => s.Results.Select(r =>
            (string[])[$"{s.Workload} {s.Period} s", r.System.Name, $"{r.Report.Router}, chunk {r.System.Options.ChunkTokens}/{r.System.Options.MixedChunkTokens}", Describe.Plan(r.System.Plan)])));
    }

    private static void NearSaturation(ReportWriter report, Cluster cluster)
    {
        report.Text("### Near the saturation of E2LLM's plan");
        report.Text("Utilisation = arrival rate over the capacity of E2LLM's plan (cost model). Goal: waiting at least 20 % below E2LLM as published from 0.8 to 1.05.");
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
            ServingReport e2llm = systems.Measure(systems.PublishedE2llm()!, requests), ours = systems.Measure(systems.Own()!, requests);
            double cut = 1 - (ours.WaitingSeconds.Mean / e2llm.WaitingSeconds.Mean);
            rows[i] = [name, $"{count}", Describe.Number(load), Describe.Number(period, "F3"), Describe.WithInterval(e2llm.WaitingSeconds), Describe.WithInterval(ours.WaitingSeconds), $"{cut:P0}",
                Describe.Number(e2llm.EndToEndSeconds.Mean), Describe.Number(ours.EndToEndSeconds.Mean), cut >= 0.2 ? "yes" : "no"];
        });
        report.Table(["workload", "n", "utilisation", "period, s", "E2LLM wait", "our wait", "below", "E2LLM end-to-end", "our end-to-end", "goal"], rows);
    }

    private static void Ablation(ReportWriter report, Cluster cluster, Setting[] settings)
    {
        report.Text("### Ablation (n = 150, mean waiting / mean end-to-end, seconds)");
        report.Text("One lever off at a time, on every side; first the levers of the runtime, the plan kept, then those of the choice of the plan, which only ours and B2 have (B2 has pure roles by its rule).");
        (string Lever, Func<SystemUnderTest, SystemUnderTest> Off)[] levers =
        [
            ("all on", s => s),
            ("chunked prefill off", s => s with { Options = s.Options with { Batching = PrefillBatching.WholePrompts } }),
            ("overlapped push off", s => s with { Options = s.Options with { KvPush = KvPush.AfterPrefill } }),
            ("least delay off (JSQ by estimated wait)", s => s with { Options = s.Options with { Router = RouterKind.JsqWait } }),
            ("JSQ by requests", s => s with { Options = s.Options with { Router = RouterKind.JsqCount } }),
            ("mixed pool", s => s with { Options = s.Options with { Router = RouterKind.MixedPool } }),
            ("one lane (no micro-batches)", s => s with { Options = s.Options with { LaneCount = 1 } }),
            ("at most 16 sequences", s => s with { Plan = s.Plan with { Replicas = [.. s.Plan.Replicas.Select(r => r with { DecodeSlots = Math.Min(r.DecodeSlots, 16), DecodeTokensPerSecond = 0 })] } }),
            ("paged memory", s => s with { Options = s.Options with { KvAdmission = KvAdmission.Paged } }),
        ];
        foreach (Setting setting in settings.Where(s => (s.Workload == "extended" && s.Period == 0.5) || (s.Workload == "custom" && s.Period == 1)))
        {
            SimulatedRequest[] requests = PaperSetting.Requests(setting.Prompt, setting.Output, setting.Period, 150);
            string Cell(string name, Func<SystemUnderTest, SystemUnderTest> off)
            {
                SystemUnderTest system = off(setting.Results.Find(r => r.System.Name == name).System);
                ServingReport r = ClusterSimulator.Run(system.Plan, cluster, PaperSetting.Model, requests, system.Options);
                return $"{Describe.Number(r.WaitingSeconds.Mean)} / {Describe.Number(r.EndToEndSeconds.Mean)}";
            }

            report.Table([$"{setting.Workload} {setting.Period} s", Systems.Ours, Systems.B2, Systems.E2llm],
                levers.Select(l => (string[])[l.Lever, Cell(Systems.Ours, l.Off), Cell(Systems.B2, l.Off), Cell(Systems.E2llm, l.Off)]).Concat(PlanLevers()));

            IEnumerable<string[]> PlanLevers()
            {
                var systems = new Systems(cluster, PaperSetting.Model, PaperSetting.Workload(setting.Prompt, setting.Output, setting.Period), requests);
                string Of(SystemUnderTest? system) => system is null ? "-" : Cell2(ClusterSimulator.Run(system.Plan, cluster, PaperSetting.Model, requests, system.Options));
                string Cell2(ServingReport r) => $"{Describe.Number(r.WaitingSeconds.Mean)} / {Describe.Number(r.EndToEndSeconds.Mean)}";
                yield return ["pure roles only", Of(systems.OwnUnder(new PlanRule { Mixed = false })), "(its rule)", "(its rule)"];
                yield return ["every device used", Of(systems.OwnUnder(new PlanRule { UseAllDevices = true })), Of(systems.OwnUnder(new PlanRule { UseAllDevices = true, Mixed = false, FastestPrefill = true })), "(its rule)"];
                yield return ["single devices only", Of(systems.OwnUnder(new PlanRule { MaxStages = 1 })), Of(systems.OwnUnder(new PlanRule { MaxStages = 1, Mixed = false, FastestPrefill = true })), "-"];
                yield return ["chosen by capacity, not simulated", Of(systems.OwnByCapacity()), "-", "-"];
            }
        }
    }

    private static void Draws(ReportWriter report, Cluster cluster, int draws)
    {
        report.Text($"### Other devices: {draws} draws of independent +-30 % on every speed");
        report.Text("Every system plans anew for each draw (groups of at most three devices, a shortlist of 12 for the simulated choices); workload and period go round the four busiest settings; n = 150.");
        (string Name, int Prompt, int Output, double Period)[] settings = [("extended", 576, 588, 0.5), ("extended", 576, 588, 1), ("custom", 2284, 1004, 1), ("custom", 2284, 1004, 2)];
        var outcomes = new Dictionary<string, (double Wait, double EndToEnd)>[draws];
        Parallel.For(0, draws, new ParallelOptions { MaxDegreeOfParallelism = 2 }, i =>
        {
            var random = new E2LLM.Simulation.Events.SeededRandom(1, (ulong)(100 + i));
            double Factor() => 0.7 + (0.6 * random.NextDouble());
            Cluster drawn = cluster with
            {
                Devices = [.. cluster.Devices.Select(d => d with { ComputeFlopsPerSecond = d.ComputeFlopsPerSecond * Factor(), MemoryBytesPerSecond = d.MemoryBytesPerSecond * Factor() })],
            };
            (_, int prompt, int output, double period) = settings[i % settings.Length];
            SimulatedRequest[] requests = PaperSetting.Requests(prompt, output, period, 150);
            var systems = new Systems(drawn, PaperSetting.Model, PaperSetting.Workload(prompt, output, period), requests, shortlist: 12, maxStages: 3);
            outcomes[i] = new SystemUnderTest?[] { systems.PublishedE2llm(), systems.WholeModelSplitwise(), systems.GreedySplitwise(), systems.StrongSplitwise(), systems.Own() }
                .OfType<SystemUnderTest>().ToDictionary(s => s.Name, s =>
                {
                    ServingReport r = ClusterSimulator.Run(s.Plan, drawn, PaperSetting.Model, requests, s.Options);
                    return (r.WaitingSeconds.Mean, r.EndToEndSeconds.Mean);
                });
        });
        string[] others = [Systems.B0, Systems.B1, Systems.B2, Systems.E2llm];
        report.Table(["ours against", "draws", "waits less or as long", "end-to-end no worse", "median cut in waiting", "worst draw, waiting"], others.Select(name =>
        {
            (double Wait, double EndToEnd, double Cut)[] pairs = [.. outcomes.Where(o => o.ContainsKey(name) && o.ContainsKey(Systems.Ours)).Select(o =>
                (o[Systems.Ours].Wait - o[name].Wait, o[Systems.Ours].EndToEnd - o[name].EndToEnd, 1 - (o[Systems.Ours].Wait / Math.Max(o[name].Wait, 1e-3))))];
            double[] cuts = [.. pairs.Select(p => p.Cut).Order()];
            return cuts.Length == 0 ? [name, "0", "-", "-", "-", "-"] : (string[])[name, $"{pairs.Length}", $"{pairs.Count(p => p.Wait <= 0.005)}", $"{pairs.Count(p => p.EndToEnd <= 0.005)}", $"{cuts[cuts.Length / 2]:P0}", $"{cuts[0]:P0}"];
        }).ToArray());
    }
}
