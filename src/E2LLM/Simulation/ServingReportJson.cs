using System.Text;
using System.Text.Json;
using E2LLM.Simulation.Metrics;

namespace E2LLM.Simulation;

/// <summary>JSON of simulation reports, read and written by hand. Stateless.</summary>
internal static class ServingReportJson
{
    private static readonly JsonWriterOptions Indented = new() { Indented = true };

    public static ServingReport Read(string json) => JsonObjectView.Parse(json, root =>
    {
        JsonObjectView waiting = root.Object("waitingSeconds");
        var report = new ServingReport
        {
            RequestCount = NotNegative(root, "requests", root.Integer("requests")),
            DroppedCount = NotNegative(root, "dropped", root.Integer("dropped", 0)),
            Seed = (ulong)NotNegative(root, "seed", root.Integer("seed")),
            Router = root.String("router"),
            WaitingSeconds = Summary(waiting),
            PrefillQueueSeconds = waiting.Number("prefillQueue", 0),
            KvWaitSeconds = waiting.Number("kvWait", 0),
            DecodeQueueSeconds = waiting.Number("decodeQueue", 0),
            TtftSeconds = Closed(root.Object("ttftSeconds"), Summary),
            TpotSeconds = Closed(root.Object("tpotSeconds"), Summary),
            EndToEndSeconds = Closed(root.Object("endToEndSeconds"), Summary),
            LongestGapSeconds = Closed(root.Object("longestGapSeconds"), Summary),
            RequestsPerSecond = NotNegative(root, "requestsPerSecond", root.Number("requestsPerSecond")),
            TokensPerSecond = NotNegative(root, "tokensPerSecond", root.Number("tokensPerSecond")),
            GoodputRequestsPerSecond = NotNegative(root, "goodputRequestsPerSecond", root.Number("goodputRequestsPerSecond")),
            KvBytesMoved = NotNegative(root, "kvBytesMoved", root.Integer("kvBytesMoved")),
            Utilisation = root.Array("utilisation", (item, path) => Closed(new JsonObjectView(item, path), stage => new StageUtilisation(
                stage.String("replica"), (int)NotNegative(stage, "stage", (long)stage.Count("stage")), stage.String("device"), NotNegative(stage, "busyFraction", stage.Number("busyFraction"))))),
            Requests = [],
        };
        waiting.End();
        root.End();
        return report;
    });

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

    private static SampleSummary Summary(JsonObjectView view)
    {
        double[] interval = view.Array("ci95", JsonObjectView.AsNumber);
        return interval is [double low, double high]
            ? new SampleSummary(view.Number("mean"), NotNegative(view, "std", view.Number("std")), view.Number("p50"), view.Number("p90"), view.Number("p99"), low, high)
            : throw new DescriptionFormatException(view.PathOf("ci95"), $"expected two numbers, found {interval.Length}.");
    }

    private static T Closed<T>(JsonObjectView view, Func<JsonObjectView, T> read)
    {
        T value = read(view);
        view.End();
        return value;
    }

    private static T NotNegative<T>(JsonObjectView view, string name, T value)
        where T : System.Numerics.INumber<T> =>
        T.IsNegative(value) ? throw new DescriptionFormatException(view.PathOf(name), "must not be negative.") : value;

    // A metric that no request has (TPOT of single-token outputs) is written as 0: the format has numbers only.
    private static double Finite(double value) => double.IsFinite(value) ? value : 0;
}
