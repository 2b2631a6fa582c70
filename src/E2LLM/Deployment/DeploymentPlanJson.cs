using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace E2LLM.Deployment;

/// <summary>JSON of plans, read and written by hand. Stateless.</summary>
internal static class DeploymentPlanJson
{
    private static readonly JsonWriterOptions Indented = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static DeploymentPlan Read(string json) => JsonObjectView.Parse(json, root =>
    {
        int version = root.Count("version");
        if (version != DeploymentPlan.CurrentVersion)
        {
            throw new DescriptionFormatException(root.PathOf("version"), $"version {version} is not supported, only {DeploymentPlan.CurrentVersion}.");
        }

        long seed = root.Integer("seed", 0);
        var plan = new DeploymentPlan
        {
            Planner = root.String("planner", ""),
            Seed = seed >= 0 ? (ulong)seed : throw new DescriptionFormatException(root.PathOf("seed"), "must not be negative."),
            ModelName = root.String("modelName", ""),
            Objective = root.Has("objective") ? Closed(root.Object("objective"), Objective) : new PlanObjective { Kind = "" },
            Replicas = root.Array("replicas", (item, path) => Closed(new JsonObjectView(item, path), Replica)),
            UnusedDevices = root.OptionalArray("unusedDevices", JsonObjectView.AsString),
            Predicted = root.Has("predicted") ? Closed(root.Object("predicted"), Prediction) : new PlanPrediction(),
            Explanation = root.OptionalArray("explanation", JsonObjectView.AsString),
        };
        root.End();
        return plan;
    });

    public static string Write(DeploymentPlan plan)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, Indented))
        {
            json.WriteStartObject();
            json.WriteNumber("version", plan.Version);
            json.WriteString("planner", plan.Planner);
            json.WriteNumber("seed", plan.Seed);
            json.WriteString("modelName", plan.ModelName);
            json.WriteStartObject("objective");
            json.WriteString("kind", plan.Objective.Kind);
            json.WriteNumber("value", Finite(plan.Objective.Value));
            json.WriteNumber("bound", Finite(plan.Objective.Bound));
            json.WriteNumber("gapFraction", Finite(plan.Objective.GapFraction));
            json.WriteBoolean("proved", plan.Objective.Proved);
            json.WriteEndObject();
            json.WriteStartArray("replicas");
            foreach (ReplicaPlan replica in plan.Replicas)
            {
                WriteReplica(json, replica);
            }

            json.WriteEndArray();
            WriteStrings(json, "unusedDevices", plan.UnusedDevices);
            json.WriteStartObject("predicted");
            json.WriteNumber("waitingSeconds", Finite(plan.Predicted.WaitingSeconds));
            json.WriteNumber("ttftSeconds", Finite(plan.Predicted.TtftSeconds));
            json.WriteNumber("tpotSeconds", Finite(plan.Predicted.TpotSeconds));
            json.WriteNumber("requestsPerSecond", Finite(plan.Predicted.RequestsPerSecond));
            json.WriteEndObject();
            WriteStrings(json, "explanation", plan.Explanation);
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }

    private static void WriteReplica(Utf8JsonWriter json, ReplicaPlan replica)
    {
        json.WriteStartObject();
        json.WriteString("name", replica.Name);
        json.WriteString("role", RoleText(replica.Role));
        json.WriteNumber("decodeSlots", replica.DecodeSlots);
        json.WriteNumber("prefillShare", Finite(replica.PrefillShare));
        if (replica.KvCodec is not null)
        {
            json.WriteString("kvCodec", replica.KvCodec);
        }

        json.WriteStartArray("stages");
        foreach (StagePlan stage in replica.Stages)
        {
            json.WriteStartObject();
            json.WriteString("device", stage.Device);
            json.WriteStartArray("layers");
            json.WriteNumberValue(stage.Layers.Start);
            json.WriteNumberValue(stage.Layers.End);
            json.WriteEndArray();
            json.WriteBoolean("embedding", stage.Embedding);
            json.WriteBoolean("head", stage.Head);
            json.WriteNumber("memoryBytes", stage.MemoryBytes);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteNumber("prefillTokensPerSecond", Finite(replica.PrefillTokensPerSecond));
        json.WriteNumber("decodeTokensPerSecond", Finite(replica.DecodeTokensPerSecond));
        json.WriteStartObject("bottleneck");
        json.WriteString("kind", replica.Bottleneck.Kind);
        json.WriteString("at", replica.Bottleneck.At);
        json.WriteNumber("seconds", Finite(replica.Bottleneck.Seconds));
        json.WriteEndObject();
        json.WriteEndObject();
    }

    private static ReplicaPlan Replica(JsonObjectView view)
    {
        double share = view.Number("prefillShare", 0);
        int slots = view.Count("decodeSlots", 0);
        if (!(share >= 0 && share <= 1) || slots < 0)
        {
            throw new DescriptionFormatException(view.Path, $"prefillShare {share} must be from 0 to 1, decodeSlots {slots} not negative.");
        }

        return new ReplicaPlan
        {
            Name = view.String("name"),
            Role = view.Choice<ReplicaRole>("role", view.String("role")),
            DecodeSlots = slots,
            PrefillShare = share,
            KvCodec = view.Has("kvCodec") ? view.String("kvCodec") : null,
            Stages = view.Array("stages", (item, path) => Closed(new JsonObjectView(item, path), Stage)),
            PrefillTokensPerSecond = view.Number("prefillTokensPerSecond", 0),
            DecodeTokensPerSecond = view.Number("decodeTokensPerSecond", 0),
            Bottleneck = view.Has("bottleneck")
                ? Closed(view.Object("bottleneck"), item => new PlanBottleneck
                {
                    Kind = item.String("kind", "stage"),
                    At = item.String("at", ""),
                    Seconds = item.Number("seconds", 0),
                })
                : new PlanBottleneck { Kind = "stage", At = "" },
        };
    }

    private static StagePlan Stage(JsonObjectView view)
    {
        long[] layers = view.Array("layers", JsonObjectView.AsInteger);
        if (layers.Length != 2 || layers[0] < 0 || layers[1] < layers[0] || layers[1] > int.MaxValue)
        {
            throw new DescriptionFormatException(view.PathOf("layers"), "expected [start, end] with 0 <= start <= end.");
        }

        return new StagePlan
        {
            Device = view.String("device"),
            Layers = new LayerRange((int)layers[0], (int)layers[1]),
            Embedding = view.Flag("embedding", false),
            Head = view.Flag("head", false),
            MemoryBytes = view.Integer("memoryBytes", 0),
        };
    }

    private static PlanObjective Objective(JsonObjectView view) => new()
    {
        Kind = view.String("kind", ""),
        Value = view.Number("value", 0),
        Bound = view.Number("bound", 0),
        GapFraction = view.Number("gapFraction", 0),
        Proved = view.Flag("proved", false),
    };

    private static PlanPrediction Prediction(JsonObjectView view) => new()
    {
        WaitingSeconds = view.Number("waitingSeconds", 0),
        TtftSeconds = view.Number("ttftSeconds", 0),
        TpotSeconds = view.Number("tpotSeconds", 0),
        RequestsPerSecond = view.Number("requestsPerSecond", 0),
    };

    private static T Closed<T>(JsonObjectView view, Func<JsonObjectView, T> read)
    {
        T value = read(view);
        view.End();
        return value;
    }

    private static void WriteStrings(Utf8JsonWriter json, string name, IReadOnlyList<string> values)
    {
        json.WriteStartArray(name);
        foreach (string value in values)
        {
            json.WriteStringValue(value);
        }

        json.WriteEndArray();
    }

    private static string RoleText(ReplicaRole role) => role switch
    {
        ReplicaRole.Prefill => "prefill",
        ReplicaRole.Decode => "decode",
        _ => "mixed",
    };

    // JSON has no infinity: an unbounded figure is written as the largest finite one.
    private static double Finite(double value) => double.IsNaN(value) ? 0 : Math.Clamp(value, double.MinValue, double.MaxValue);
}
