using System.CommandLine;
using System.Globalization;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Samples;
using E2LLM.Simulation;
using E2LLM.Simulation.Metrics;
using E2LLM.Simulation.Reporting;
using E2LLM.Simulation.Workloads;
using E2LLM.Tool.CommandLine;
using E2LLM.Tool.Running;

namespace E2LLM.Tool.Commands;

/// <summary><c>e2llm simulate</c>: what a plan does with a workload, event by event, before any device is bought.</summary>
internal static class SimulateCommand
{
    public static Command Create(ToolConsole console)
    {
        var plan = new Option<string>("--plan") { Description = "A plan, as e2llm plan writes it.", HelpName = "P.json", Required = true };
        var cluster = new Option<string>("--cluster") { Description = "Devices and links.", HelpName = "C.json", Required = true };
        var model = new Option<string>("--model") { Description = "A model's shape, or a GGUF file.", HelpName = "S.json|M.gguf", Required = true };
        var workload = new Option<string>("--workload") { Description = "Arrivals, lengths and targets; or a trace (CSV or JSON lines).", HelpName = "W.json|T.csv", Required = true };
        Option<int> requests = ToolOptions.Count("--requests", 0, "Requests to simulate (default: 1000, or the whole trace).", least: 0);
        Option<RouterKind> router = Router();
        Option<ulong> seed = ToolOptions.Seed("Seed of arrivals, lengths and policies (default 1).");
        var trace = new Option<string?>("--trace-out") { Description = "Write a timeline for Perfetto or chrome://tracing.", HelpName = "F.json" };
        var report = new Option<string?>("--report") { Description = "Write a page with plots.", HelpName = "F.html" };
        Option<bool> json = ToolOptions.Json();
        var command = new Command("simulate", "Simulates a plan under a workload.")
        {
            plan, cluster, model, workload, requests, router, seed, trace, report, json,
        };
        command.SetAction((parsed, ct) =>
        {
            DeploymentPlan deployment = DeploymentPlan.Parse(File.ReadAllText(parsed.GetRequiredValue(plan)));
            var options = new SimulationOptions { Seed = parsed.GetValue(seed), Router = parsed.GetValue(router) };
            (IReadOnlyList<SimulatedRequest> arrivals, ServiceTargets? targets) =
                Requests(parsed.GetRequiredValue(workload), parsed.GetValue(requests), options.Seed);
            SimulationTimeline? timeline = parsed.GetValue(trace) is null ? null : new SimulationTimeline();
            using var bar = new ProgressBar(console, isPatient: true);
            ServingReport result = ClusterSimulator.Run(
                deployment,
                Cluster.Parse(File.ReadAllText(parsed.GetRequiredValue(cluster))),
                ModelCostFile.Read(parsed.GetRequiredValue(model)),
                arrivals, options, targets, timeline, new BarProgress(bar, arrivals.Count), ct);
            bar.Dispose();
            if (parsed.GetValue(trace) is { } tracePath)
            {
                using FileStream file = File.Create(tracePath);
                timeline!.WriteChromeTrace(file);
            }

            if (parsed.GetValue(report) is { } reportPath)
            {
                File.WriteAllText(reportPath, HtmlReport.Write(result, deployment));
            }

            if (parsed.GetValue(json))
            {
                console.Out.WriteLine(result.ToJson());
            }
            else
            {
                Write(console.Out, result);
            }

            return Task.FromResult(0);
        });
        return command;
    }

    // A workload is one JSON object; anything else is a trace.
    private static (IReadOnlyList<SimulatedRequest> Requests, ServiceTargets? Targets) Requests(string path, int count, ulong seed)
    {
        if (Path.GetExtension(path).Equals(".json", StringComparison.OrdinalIgnoreCase))
        {
            Workload workload = Workload.Load(path);
            return (RequestGenerator.Generate(workload, count > 0 ? count : 1000, seed), workload.Targets);
        }

        using StreamReader reader = File.OpenText(path);
        return (RequestTrace.Read(reader, count > 0 ? count : int.MaxValue), null);
    }

    private static void Write(TextWriter output, ServingReport report)
    {
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{report.RequestCount} requests, router {report.Router}, seed {report.Seed}: {report.RequestsPerSecond:F3} requests/s, {report.TokensPerSecond:F1} tokens/s, goodput {report.GoodputRequestsPerSecond:F3} requests/s"));
        output.WriteLine("seconds             mean       95 % interval        P50        P90        P99");
        Row(output, "waiting", report.WaitingSeconds);
        Row(output, "first token", report.TtftSeconds);
        Row(output, "per token", report.TpotSeconds);
        Row(output, "end to end", report.EndToEndSeconds);
        Row(output, "longest gap", report.LongestGapSeconds);
        foreach (StageUtilisation stage in report.Utilisation)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{stage.Replica} stage {stage.Stage} on {stage.Device}: {stage.BusyFraction:P1} busy"));
        }
    }

    private static void Row(TextWriter output, string name, SampleSummary s) => output.WriteLine(string.Create(CultureInfo.InvariantCulture,
        $"{name,-14}{s.Mean,10:F4}{s.Ci95Low,11:F4}{s.Ci95High,11:F4}{s.P50,11:F4}{s.P90,11:F4}{s.P99,11:F4}"));

    private static Option<RouterKind> Router() => new("--router")
    {
        Description = $"How replicas are chosen: {string.Join(", ", Enum.GetValues<RouterKind>().Select(SimulationOptions.NameOf))} (default jsq-wait).",
        HelpName = "NAME",
        DefaultValueFactory = _ => RouterKind.JsqWait,
        CustomParser = argument =>
        {
            try
            {
                return SimulationOptions.ParseRouter(argument.Tokens[0].Value);
            }
            catch (ArgumentException problem)
            {
                argument.AddError($"--router: {problem.Message}");
                return RouterKind.JsqWait;
            }
        },
    };

    private sealed class BarProgress(ProgressBar bar, int total) : IProgress<long>
    {
        public void Report(long value) => bar.Report(value, total, "requests simulated");
    }
}
