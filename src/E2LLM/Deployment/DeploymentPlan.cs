namespace E2LLM.Deployment;

/// <summary>Which phase a replica serves.</summary>
public enum ReplicaRole
{
    /// <summary>Passes over prompts; its KV caches move to decode replicas.</summary>
    Prefill,

    /// <summary>One new token per step for each of its slots.</summary>
    Decode,

    /// <summary>Both, time-shared.</summary>
    Mixed,
}

/// <summary>How devices serve a model: replicas, their roles and stages, and what was predicted of them. Data only. Immutable; safe to share.</summary>
public sealed record DeploymentPlan
{
    /// <summary>The version of the format that this library reads and writes.</summary>
    public const int CurrentVersion = 1;

    /// <summary>Version of the format.</summary>
    public int Version { get; init; } = CurrentVersion;

    /// <summary>Which planner made it. Default "hand".</summary>
    public string Planner { get; init; } = "hand";

    /// <summary>Its seed.</summary>
    public ulong Seed { get; init; }

    /// <summary>Name of the model. Default empty; for people, nothing depends on it.</summary>
    public string ModelName { get; init; } = string.Empty;

    /// <summary>Value and proven bound of the objective. Default of kind "none".</summary>
    public PlanObjective Objective { get; init; } = new() { Kind = "none" };

    /// <summary>The replicas.</summary>
    public required IReadOnlyList<ReplicaPlan> Replicas { get; init; }

    /// <summary>Devices left without work.</summary>
    public IReadOnlyList<string> UnusedDevices { get; init; } = [];

    /// <summary>What the planner expects of the plan.</summary>
    public PlanPrediction Predicted { get; init; } = new();

    /// <summary>In plain words: why each device is where it is, and what would help most.</summary>
    public IReadOnlyList<string> Explanation { get; init; } = [];

    /// <summary>Reads the JSON format of plans.</summary>
    /// <exception cref="DescriptionFormatException">The text is not such a description; the message has the path.</exception>
    public static DeploymentPlan Parse(string json) => DeploymentPlanJson.Read(json);

    /// <summary>Reads a file in the JSON format of plans.</summary>
    /// <exception cref="DescriptionFormatException">The file holds no such description; the message has the path in it.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static DeploymentPlan Load(string path) => Parse(File.ReadAllText(path));

    /// <summary>Writes the JSON format of plans, indented.</summary>
    public string ToJson() => DeploymentPlanJson.Write(this);
}

/// <summary>Objective value of a plan with its certificate. Immutable.</summary>
public sealed record PlanObjective
{
    /// <summary>Which objective: <c>capacity</c>, <c>bottleneck</c>, <c>waiting</c>, <c>goodput</c>, or a name of the caller's.</summary>
    public required string Kind { get; init; }

    /// <summary>Its value for this plan.</summary>
    public double Value { get; init; }

    /// <summary>No plan can be better than this (in the planner's cost model).</summary>
    public double Bound { get; init; }

    /// <summary><c>|bound - value| / |bound|</c>; 0 where both are equal, 1 where only the bound is zero.</summary>
    public double GapFraction { get; init; }

    /// <summary>Whether the value equals the bound to rounding: no better plan exists in the planner's cost model.</summary>
    public bool Proved { get; init; }
}

/// <summary>What the planner expects of a plan. Immutable.</summary>
public sealed record PlanPrediction
{
    /// <summary>Expected waiting time of a request, seconds.</summary>
    public double WaitingSeconds { get; init; }

    /// <summary>Expected time to first token, seconds, waiting included.</summary>
    public double TtftSeconds { get; init; }

    /// <summary>Expected seconds per output token after the first.</summary>
    public double TpotSeconds { get; init; }

    /// <summary>Largest sustained request rate (capacity).</summary>
    public double RequestsPerSecond { get; init; }
}

/// <summary>Devices that together hold one whole model. Immutable.</summary>
public sealed record ReplicaPlan
{
    /// <summary>Name, unique in the plan.</summary>
    public required string Name { get; init; }

    /// <summary>Which phase it serves.</summary>
    public required ReplicaRole Role { get; init; }

    /// <summary>Sequences that decode at once; 0 for a prefill replica.</summary>
    public int DecodeSlots { get; init; }

    /// <summary>Share of its time for prefill: 1 for a prefill replica, 0 for a decode replica.</summary>
    public double PrefillShare { get; init; }

    /// <summary>The stages in layer order.</summary>
    public required IReadOnlyList<StagePlan> Stages { get; init; }

    /// <summary>Prompt tokens per second while it prefills; 0 for a decode replica.</summary>
    public double PrefillTokensPerSecond { get; init; }

    /// <summary>Output tokens per second with all slots busy while it decodes; 0 for a prefill replica.</summary>
    public double DecodeTokensPerSecond { get; init; }

    /// <summary>Name of the codec with which its stages send keys and values to other replicas, for example <c>auto</c> or <c>int8</c>; null leaves it to the stages.</summary>
    public string? KvCodec { get; init; }

    /// <summary>What limits it.</summary>
    public PlanBottleneck Bottleneck { get; init; } = new() { Kind = "stage", At = "" };

    /// <summary>
    /// By what dispatchers compare replicas for generation: the seconds that a token of each of <paramref name="sequences"/> takes, as planned, then the share of the slots that they use. A replica that
    /// latency limits gives every sequence the same however many there are, up to all slots; of others only the rate is known, and the time grows with their number.
    /// </summary>
    internal (double SecondsPerToken, double Load) DecodeLoad(int sequences)
    {
        double load = sequences / Math.Max(1.0, DecodeSlots);
        double seconds = Bottleneck is { Kind: "latency", Seconds: > 0 }
            ? Bottleneck.Seconds * Math.Max(1, load)
            : sequences / (DecodeTokensPerSecond > 0 ? DecodeTokensPerSecond : 1);
        return (seconds, load);
    }
}

/// <summary>What limits a replica. Immutable.</summary>
public sealed record PlanBottleneck
{
    /// <summary><c>stage</c>, <c>link</c>, <c>latency</c> (sum of all stages), <c>memory</c> or <c>slots</c>.</summary>
    public required string Kind { get; init; }

    /// <summary>Device, or pair of devices written <c>a->b</c>.</summary>
    public required string At { get; init; }

    /// <summary>Its seconds per request (prefill) or per cycle (decode).</summary>
    public double Seconds { get; init; }
}

/// <summary>One device of a replica with its layers. Immutable.</summary>
public sealed record StagePlan
{
    /// <summary>Name of the device.</summary>
    public required string Device { get; init; }

    /// <summary>Its layers.</summary>
    public required LayerRange Layers { get; init; }

    /// <summary>Whether it holds the token embedding (the first stage does).</summary>
    public bool Embedding { get; init; }

    /// <summary>Whether it holds final norm and head (the last stage does).</summary>
    public bool Head { get; init; }

    /// <summary>Bytes that the stage needs: weights, KV cache and activations.</summary>
    public long MemoryBytes { get; init; }
}
