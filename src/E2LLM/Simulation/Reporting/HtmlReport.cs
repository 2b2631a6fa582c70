using System.Globalization;
using System.Net;
using System.Text;
using E2LLM.Deployment;
using E2LLM.Simulation.Metrics;

namespace E2LLM.Simulation.Reporting;

/// <summary>A simulation report as one HTML file without scripts: the figures, the plan, and plots as SVG. Stateless.</summary>
public static class HtmlReport
{
    private const int PlotPointCount = 200;

    /// <summary>Writes the page.</summary>
    public static string Write(ServingReport report, DeploymentPlan plan)
    {
        ArgumentNullException.ThrowIfNull(report);
        ArgumentNullException.ThrowIfNull(plan);
        var html = new StringBuilder();
        html.Append("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Simulated deployment</title>\n");
        html.Append("<style>body{font-family:sans-serif;margin:2em;max-width:60em}table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.3em .6em;text-align:right}td:first-child,th:first-child{text-align:left}</style></head><body>\n");
        html.Append(CultureInfo.InvariantCulture, $"<h1>{Text(plan.ModelName)}, planner {Text(plan.Planner)}, router {Text(report.Router)}</h1>\n");
        html.Append(CultureInfo.InvariantCulture, $"<p>{report.RequestCount} requests, seed {report.Seed}: {report.RequestsPerSecond:F3} requests/s, {report.TokensPerSecond:F1} tokens/s, goodput {report.GoodputRequestsPerSecond:F3} requests/s ({report.Attainment:P1} met the targets).</p>\n");
        html.Append("<table><tr><th>seconds</th><th>mean</th><th>95 % interval</th><th>std</th><th>P50</th><th>P90</th><th>P99</th></tr>\n");
        Row(html, "waiting", report.WaitingSeconds);
        Row(html, "time to first token", report.TtftSeconds);
        Row(html, "time per output token", report.TpotSeconds);
        Row(html, "end to end", report.EndToEndSeconds);
        Row(html, "longest gap", report.LongestGapSeconds);
        html.Append("</table>\n<table><tr><th>replica</th><th>role</th><th>stage</th><th>device</th><th>layers</th><th>busy</th></tr>\n");
        foreach (StageUtilisation stage in report.Utilisation)
        {
            ReplicaPlan? replica = plan.Replicas.FirstOrDefault(r => r.Name == stage.Replica);
            string layers = replica is not null && stage.Stage < replica.Stages.Count ? replica.Stages[stage.Stage].Layers.ToString() : "";
            html.Append(CultureInfo.InvariantCulture, $"<tr><td>{Text(stage.Replica)}</td><td>{replica?.Role}</td><td>{stage.Stage}</td><td>{Text(stage.Device)}</td><td>{layers}</td><td>{stage.BusyFraction:P1}</td></tr>\n");
        }

        html.Append("</table>\n");
        html.Append(Distribution("Share of requests that take at most so long", "seconds", [
            ("end to end", report.Requests.Select(r => r.EndSeconds - r.Request.ArrivalSeconds)),
            ("first token", report.Requests.Select(r => r.FirstTokenSeconds - r.Request.ArrivalSeconds)),
            ("until prefill", report.Requests.Select(r => r.PrefillStartSeconds - r.Request.ArrivalSeconds))]));
        html.Append(OverTime(report));
        return html.Append("</body></html>\n").ToString();
    }

    private static void Row(StringBuilder html, string name, SampleSummary s) => html.Append(
        CultureInfo.InvariantCulture,
        $"<tr><td>{name}</td><td>{s.Mean:F4}</td><td>{s.Ci95Low:F4} to {s.Ci95High:F4}</td><td>{s.Std:F4}</td><td>{s.P50:F4}</td><td>{s.P90:F4}</td><td>{s.P99:F4}</td></tr>\n");

    private static string Distribution(string title, string unit, IEnumerable<(string Name, IEnumerable<double> Values)> series) => new SvgPlot(
        title, unit, "share", [.. series.Select(s =>
        {
            double[] sorted = [.. s.Values.Order()];
            return new PlotSeries(s.Name, sorted.Length == 0 ? [] : [.. Enumerable.Range(0, PlotPointCount + 1)
                .Select(i => (SampleSummary.Percentile(sorted, (double)i / PlotPointCount), (double)i / PlotPointCount))]);
        })]).ToSvg();

    private static string OverTime(ServingReport report)
    {
        int step = Math.Max(1, report.Requests.Count / PlotPointCount);
        IEnumerable<CompletedRequest[]> groups = report.Requests.Chunk(step);
        return new SvgPlot("End-to-end time by arrival", "arrival, seconds", "seconds", [
            new PlotSeries("end to end", [.. groups.Select(g => (g.Average(r => r.Request.ArrivalSeconds), g.Average(r => r.EndSeconds - r.Request.ArrivalSeconds)))]),
            new PlotSeries("first token", [.. groups.Select(g => (g.Average(r => r.Request.ArrivalSeconds), g.Average(r => r.FirstTokenSeconds - r.Request.ArrivalSeconds)))])]).ToSvg();
    }

    private static string Text(string text) => WebUtility.HtmlEncode(text);
}
