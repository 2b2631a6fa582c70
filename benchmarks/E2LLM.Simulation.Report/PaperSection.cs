using E2LLM.Costs;
using E2LLM.Simulation.Reporting;
using E2LLM.Simulation.Validation;

namespace E2LLM.Simulation.Report;

/// <summary>Section 3: the paper's planning problem, with every system in its best honest form. Stateless.</summary>
internal static class PaperSection
{
    private static readonly string[] Order = [Systems.E2llm, Systems.EdgeShard, Systems.Colocated, Systems.B0, Systems.B1, Systems.B2, Systems.Ours];

    /// <summary>One setting: reports of all systems.</summary>
    private sealed record Setting(
        string Workload, double Period, int Count, List<(SystemUnderTest System, ServingReport Report)> Results, IReadOnlyList<(SystemUnderTest System, double Waiting, double EndToEnd)> Seeds, double Bound)
    {
        public ServingReport? this[string name] => Results.Find(r => r.System.Name == name).Report;
    }

    public static void Write(ReportWriter report, Cluster cluster)
    {
        report.Text("## 3. The paper's setting");
        report.Text("Seven devices of arXiv 2606.03770 (`paper-testbed.json`: memory and link are the paper's, speeds are public specifications times a fixed efficiency, not tuned), GPT-OSS-20B, fixed prompts and outputs, fixed periods, at least 15 tokens/s. "
            + "This reproduces the paper's planning problem, not its testbed: the paper measured real devices, whose speeds it does not print; absolute seconds do not compare, rankings may. "
            + "Waiting = end-to-end minus the request's own service alone on the best route of the same plan: queueing, transfer wait, and the slow-down by sequences decoded in the same batch.");
        report.Text("Every planned system chooses from one space by exact search (all groupings, splits, roles and concurrencies; devices may stay idle), under its own rules:");
        report.Table(["system", "may choose", "runtime"], [
            [Systems.E2llm, $"GA + DP of this library (`PlannerKind.E2llm`), pure roles, at most 16 sequences, all devices, smallest bottleneck; {Systems.GeneticSeedCount} seeds, the median one in the tables", "JSQ by estimated wait, cache moved after the prompt"],
            [Systems.EdgeShard, "one replica of any devices, both phases", "chunked prefill"],
            [Systems.Colocated, "any groups, each serves both phases, largest capacity", "JSQ by tokens, chunked prefill"],
            [Systems.B0, "single devices that hold the model, prefill at least as fast as decode, largest capacity", "mixed pool, whole prompts up to 2048 tokens, cache pushed layer by layer"],
            [Systems.B1, "fastest devices to prefill until it is no longer the limit, rest decode, exact split", "as B0"],
            [Systems.B2, "any groups, pure roles, every prefill replica at least as fast as every decode replica; chosen by simulation on the very requests", "every lever of ours, or the mixed pool: the best"],
            [Systems.Ours, "any groups and roles, both phases too; chosen by simulation on the very requests", "chunked prefill, cache pushed layer by layer, routing by least delay, estimated wait, added rate or the mixed pool: the best"],
        ]);
        report.Text("B2 is chosen by the smallest sum of mean end-to-end and mean waiting time. Ours is chosen by the goals: fewest seconds of waiting and of end-to-end beyond what they ask for (neither above B2's or E2LLM's median seed; waiting a fifth below "
            + "E2LLM's where its plan is loaded to 0.8 to 1.05, half of B0's and B1's where those wait); then fewest beyond the least of any seed of E2LLM; then by the same sum. Both begin at shortlists by static scores and go on step by step "
            + "(slots, roles, devices moved or exchanged, routers, chunks; in the end slots of two replicas at once and single layers) while a step helps.");
        (string Name, int Prompt, int Output, double Period, int Count)[] settings =
            [.. new[] { 150, 1000 }.SelectMany(n => PaperSetting.Lengths.SelectMany(l => PaperSetting.Periods.Select(p => (l.Name, l.Prompt, l.Output, p, n))))];
        var results = new Setting[settings.Length];
        Parallel.For(0, settings.Length, new ParallelOptions { MaxDegreeOfParallelism = 2 }, i => results[i] = Run(cluster, settings[i]));
        foreach (int count in (int[])[150, 1000])
        {
            WaitTables(report, [.. results.Where(r => r.Count == count)], count);
        }

        Seeds(report, results);
        Goals(report, results);
        Plans(report, [.. results.Where(r => r.Count == 150)]);
    }

    private static Setting Run(Cluster cluster, (string Name, int Prompt, int Output, double Period, int Count) s)
    {
        SimulatedRequest[] requests = PaperSetting.Requests(s.Prompt, s.Output, s.Period, s.Count);
        var systems = new Systems(cluster, PaperSetting.Model, PaperSetting.Workload(s.Prompt, s.Output, s.Period), requests);
        return new Setting(s.Name, s.Period, s.Count, [.. systems.All().Select(x => (x, systems.Measure(x, requests)))], systems.PublishedSeeds(),
            new ServiceBound(cluster, PaperSetting.Model, s.Prompt, s.Output, s.Period, s.Count).MeanEndToEndSeconds());
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

    private static void Seeds(ReportWriter report, Setting[] settings)
    {
        report.Text("### E2LLM as published: the luck of its seeds");
        report.Text($"Seeds 1 to {Systems.GeneticSeedCount} of its genetic search (population and generations are not published; here 40 and 40), ordered by waiting plus end-to-end.");
        report.Table(["setting", "different plans", "waiting: best, median, worst seed", "end-to-end: best, median, worst seed"], settings.Select(s => (string[])[Name(s),
            $"{s.Seeds.Select(x => Describe.Plan(x.System.Plan)).Distinct().Count()}", Three(s.Seeds.Select(x => x.Waiting)), Three(s.Seeds.Select(x => x.EndToEnd))]).ToArray());

        static string Three(IEnumerable<double> values) => values.ToArray() is { Length: > 0 } v
            ? $"{Describe.Number(v[0])}, {Describe.Number(v[(v.Length - 1) / 2])}, {Describe.Number(v[^1])}" : "-";
    }

    private static string Name(Setting s) => $"{s.Workload} {s.Period} s, n = {s.Count}";

    // "Waits at all": more than 1 % of its own service time.
    private static void Goals(ReportWriter report, Setting[] settings)
    {
        report.Text("### Goals");
        report.Text("Beside each row a bound that no plan and no policy goes below (`ServiceBound`): devices run one pass at a time at the cost model's speed, a sequence is in one pass at a time, a prompt on each device at most once; memory, links and "
            + "that a layer stays where it is are forgotten, and sequences between two passes are not counted. Least wait: the bound less our own plan's time alone; a plan with the same time alone cannot wait less.");
        report.Table(["setting", "below B0", "below B1", "wait vs B2", "end-to-end vs B2", "wait vs E2LLM, median (best) seed", "end-to-end vs E2LLM, median (best) seed", "our end-to-end / its bound, s", "our wait / least, s", "missed"], settings.Select(s =>
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

            string NoWorse(double own, double? other, string label)
            {
                if (other is not { } theirs)
                {
                    return "-";
                }

                double change = (own - theirs) / Math.Max(theirs, 1e-3);
                if (change > 0.001 && own - theirs > 0.001)
                {
                    missed.Add(label);
                }

                return $"{change:+0.0%;-0.0%;0.0%}";
            }

            double wait = ours.WaitingSeconds.Mean, endToEnd = ours.EndToEndSeconds.Mean;
            ServingReport? strong = s[Systems.B2], median = s[Systems.E2llm];
            (SystemUnderTest System, double Waiting, double EndToEnd)? lucky = s.Seeds.Count > 0 ? s.Seeds[0] : null;

            return (string[])[Name(s), Half(Systems.B0), Half(Systems.B1),
                NoWorse(wait, strong?.WaitingSeconds.Mean, "wait vs B2"), NoWorse(endToEnd, strong?.EndToEndSeconds.Mean, "end-to-end vs B2"),
                $"{NoWorse(wait, median?.WaitingSeconds.Mean, "wait vs E2LLM")} ({NoWorse(wait, lucky?.Waiting, "wait vs E2LLM's best seed")})",
                $"{NoWorse(endToEnd, median?.EndToEndSeconds.Mean, "end-to-end vs E2LLM")} ({NoWorse(endToEnd, lucky?.EndToEnd, "end-to-end vs E2LLM's best seed")})",
                $"{Describe.Number(endToEnd)} / {Describe.Number(s.Bound)}", $"{Describe.Number(wait)} / {Describe.Number(Math.Max(0, s.Bound - ours.MeanServiceSeconds))}",
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
}
