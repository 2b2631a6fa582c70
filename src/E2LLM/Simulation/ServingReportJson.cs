using System.Text;
using System.Text.Json;
using E2LLM.Simulation.Metrics;

namespace E2LLM.Simulation;

/// <summary>JSON of simulation reports, written by hand. Stateless.</summary>
internal static class ServingReportJson
{
    private static readonly JsonWriterOptions Indented = new() { Indented = true };

    public static string Write(ServingReport report)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, Indented))
        {
            json.WriteStartObject();
            json.WriteNumber("requests", report.RequestCount);
            if (report.DroppedCount > 0)
            {
                json.WriteNumber("dropped", report.DroppedCount);
            }

            json.WriteNumber("seed", report.Seed);
            json.WriteString("router", report.Router);
            Summary(json, "waitingSeconds", report.WaitingSeconds, report);
            Summary(json, "ttftSeconds", report.TtftSeconds);
            Summary(json, "tpotSeconds", report.TpotSeconds);
            Summary(json, "endToEndSeconds", report.EndToEndSeconds);
            Summary(json, "longestGapSeconds", report.LongestGapSeconds);
            json.WriteNumber("requestsPerSecond", Finite(report.RequestsPerSecond));
            json.WriteNumber("tokensPerSecond", Finite(report.TokensPerSecond));
            json.WriteNumber("goodputRequestsPerSecond", Finite(report.GoodputRequestsPerSecond));
            json.WriteNumber("kvBytesMoved", (long)Math.Round(report.KvBytesMoved));
            json.WriteStartArray("utilisation");
            foreach (StageUtilisation stage in report.Utilisation)
            {
                json.WriteStartObject();
                json.WriteString("replica", stage.Replica);
                json.WriteNumber("stage", stage.Stage);
                json.WriteString("device", stage.Device);
                json.WriteNumber("busyFraction", Finite(stage.BusyFraction));
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }

    private static void Summary(Utf8JsonWriter json, string name, SampleSummary summary, ServingReport? waiting = null)
    {
        json.WriteStartObject(name);
        json.WriteNumber("mean", Finite(summary.Mean));
        json.WriteNumber("std", Finite(summary.Std));
        json.WriteNumber("p50", Finite(summary.P50));
        json.WriteNumber("p90", Finite(summary.P90));
        json.WriteNumber("p99", Finite(summary.P99));
        json.WriteStartArray("ci95");
        json.WriteNumberValue(Finite(summary.Ci95Low));
        json.WriteNumberValue(Finite(summary.Ci95High));
        json.WriteEndArray();
        if (waiting is not null)
        {
            json.WriteNumber("prefillQueue", Finite(waiting.PrefillQueueSeconds));
            json.WriteNumber("kvWait", Finite(waiting.KvWaitSeconds));
            json.WriteNumber("decodeQueue", Finite(waiting.DecodeQueueSeconds));
        }

        json.WriteEndObject();
    }

    // A metric that no request has (TPOT of single-token outputs) is written as 0: the format has numbers only.
    private static double Finite(double value) => double.IsFinite(value) ? value : 0;
}
