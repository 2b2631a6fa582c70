using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace E2LLM.Diagnostics;

/// <summary>Names of all metrics and activities of this library: the one place that states them. Subscribe by <see cref="SourceName"/>. Thread-safe.</summary>
public static class Telemetry
{
    /// <summary>Name of the meter and of the activity source.</summary>
    public const string SourceName = "E2LLM";

    /// <summary>Counter, bytes: coded keys and values received by decode stages. Tags: <see cref="DeviceTag"/>, <see cref="PeerTag"/>.</summary>
    public const string KvTransferBytes = "e2llm.kv.transfer.bytes";

    /// <summary>Histogram, seconds: from the opening of a sequence until all its keys and values are with the decode stage. Tag: <see cref="DeviceTag"/>.</summary>
    public const string KvTransferDuration = "e2llm.kv.transfer.duration";

    /// <summary>Histogram, seconds: one step at one stage, sampling included. Tags: <see cref="DeviceTag"/>, <see cref="TokensTag"/>.</summary>
    public const string StageDuration = "e2llm.stage.duration";

    /// <summary>Gauge: work that waits at a stage or is being done. Tag: <see cref="DeviceTag"/>.</summary>
    public const string StageQueueLength = "e2llm.stage.queue.length";

    /// <summary>Gauge: KV blocks held by sequences at a stage. Tag: <see cref="DeviceTag"/>.</summary>
    public const string KvBlocksUsed = "e2llm.kv.blocks.used";

    /// <summary>Gauge: KV blocks that no sequence holds and that keep what an ended one left, for prompts that begin alike. Tag: <see cref="DeviceTag"/>.</summary>
    public const string KvBlocksKept = "e2llm.kv.blocks.kept";

    /// <summary>Gauge: requests that wait for memory or a place. Tag: <see cref="DeviceTag"/>, the generator's or replica's name.</summary>
    public const string RequestQueueLength = "e2llm.request.queue.length";

    /// <summary>Counter, tokens: prompts taken up. Tag: <see cref="DeviceTag"/>, the generator's or replica's name.</summary>
    public const string PromptTokens = "e2llm.prompt.tokens";

    /// <summary>Counter, tokens: those of <see cref="PromptTokens"/> whose keys and values were there already. Tag: <see cref="DeviceTag"/>.</summary>
    public const string PromptTokensReused = "e2llm.prompt.tokens.reused";

    /// <summary>Counter: connections that ended because the peer was lost. Tags: <see cref="PeerTag"/>, <see cref="ReasonTag"/>.</summary>
    public const string PeerLost = "e2llm.peer.lost";

    /// <summary>
    /// Histogram, seconds: a request from its start to its end, however it ended. This and the next two follow OpenTelemetry's conventions for generative AI (status Development), are
    /// recorded by generators and dispatchers, and have the tags <see cref="OperationTag"/>, <see cref="ProviderTag"/>, <see cref="ModelTag"/>, and <see cref="ErrorTag"/> where it failed.
    /// </summary>
    public const string RequestDuration = "gen_ai.server.request.duration";

    /// <summary>Histogram, seconds: time to first token of a request, waiting included.</summary>
    public const string TimeToFirstToken = "gen_ai.server.time_to_first_token";

    /// <summary>Histogram, seconds: time per output token after the first, one value for each request.</summary>
    public const string TimePerOutputToken = "gen_ai.server.time_per_output_token";

    /// <summary>Counter: requests continued elsewhere after a loss.</summary>
    public const string Recoveries = "e2llm.request.recoveries";

    /// <summary>
    /// Activity: one request from its beginning to its last token, shown as <c>text_completion MODEL</c>. Tags: those of the conventions
    /// (<c>gen_ai.request.*</c>, <c>gen_ai.usage.*</c>, <c>gen_ai.response.finish_reasons</c>), and of a dispatcher <c>e2llm.*</c>: replicas, bytes moved, recoveries.
    /// </summary>
    public const string RequestActivity = "e2llm.request";

    /// <summary>
    /// Activity: one sequence at one stage, from its opening to its end; its parent is the request, also across processes. Tags: <see cref="DeviceTag"/>,
    /// whether its keys and values came from elsewhere, tokens known at its opening, bytes of keys and values sent.
    /// </summary>
    public const string StageActivity = "e2llm.stage";

    /// <summary>Tag: name of the device that reports.</summary>
    public const string DeviceTag = "device";

    /// <summary>Tag: name of the device on the other side.</summary>
    public const string PeerTag = "peer";

    /// <summary>Tag: why a peer counts as lost.</summary>
    public const string ReasonTag = "reason";

    /// <summary>Tag: tokens of a step: <c>1</c>, <c>2-8</c>, <c>9-64</c> or <c>65+</c>.</summary>
    public const string TokensTag = "tokens";

    /// <summary>Tag: what was asked, always <c>text_completion</c>: chat is written as a text before it comes here.</summary>
    public const string OperationTag = "gen_ai.operation.name";

    /// <summary>Tag: always <c>e2llm</c>.</summary>
    public const string ProviderTag = "gen_ai.provider.name";

    /// <summary>Tag: the model's name in its file.</summary>
    public const string ModelTag = "gen_ai.request.model";

    /// <summary>Tag: type of the exception that ended a request.</summary>
    public const string ErrorTag = "error.type";

    internal const string Operation = "text_completion";

    internal const string Provider = "e2llm";

    internal const string MaxTokensTag = "gen_ai.request.max_tokens";

    internal const string InputTokensTag = "gen_ai.usage.input_tokens";

    internal const string CachedInputTokensTag = "gen_ai.usage.cache_read.input_tokens";

    internal const string OutputTokensTag = "gen_ai.usage.output_tokens";

    internal const string FinishReasonsTag = "gen_ai.response.finish_reasons";

    internal const string PrefillReplicaTag = "e2llm.replica.prefill";

    internal const string DecodeReplicaTag = "e2llm.replica.decode";

    /// <summary>Values of <see cref="FinishReasonsTag"/>, which is a list because an answer may have several choices.</summary>
    internal static readonly string[] Stopped = ["stop"], Cut = ["length"];

    internal static readonly ActivitySource Activities = new(SourceName);

    internal static readonly Meter Meter = new(SourceName);

    internal static readonly Counter<long> KvBytesCounter = Meter.CreateCounter<long>(KvTransferBytes, "By");

    internal static readonly Histogram<double> KvDurationHistogram = Meter.CreateHistogram<double>(KvTransferDuration, "s");

    internal static readonly Histogram<double> StageHistogram = Meter.CreateHistogram<double>(StageDuration, "s");

    internal static readonly Counter<long> PromptTokenCounter = Meter.CreateCounter<long>(PromptTokens, "{token}");

    internal static readonly Counter<long> PromptTokenReusedCounter = Meter.CreateCounter<long>(PromptTokensReused, "{token}");

    internal static readonly Counter<long> PeerLostCounter = Meter.CreateCounter<long>(PeerLost);

    internal static readonly Histogram<double> RequestHistogram = Seconds(
        RequestDuration, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92);

    internal static readonly Histogram<double> TtftHistogram = Seconds(
        TimeToFirstToken, 0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10);

    internal static readonly Histogram<double> TpotHistogram = Seconds(
        TimePerOutputToken, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5);

    internal static readonly Counter<long> RecoveryCounter = Meter.CreateCounter<long>(Recoveries);

    /// <summary>Starts the activity of a request; what a sampler looks at is there from the start.</summary>
    internal static Activity? StartRequest(string model, ActivityKind kind)
    {
        KeyValuePair<string, object?>[] tags = [new(OperationTag, Operation), new(ProviderTag, Provider), new(ModelTag, model)];
        Activity? started = Activities.StartActivity(RequestActivity, kind, parentContext: default, tags);
        if (started is not null)
        {
            started.DisplayName = $"{Operation} {model}";
        }

        return started;
    }

    /// <summary>Starts the activity of a sequence at a stage, and leaves the thread's current activity as it was.</summary>
    internal static Activity? StartStage(string? traceParent, string device, bool imports, int tokens)
    {
        if (traceParent is null || !ActivityContext.TryParse(traceParent, null, isRemote: true, out ActivityContext parent))
        {
            return null;
        }

        Activity? before = Activity.Current;
        Activity? started = Activities.StartActivity(StageActivity, ActivityKind.Server, parent);
        started?.SetTag(DeviceTag, device).SetTag("imports", imports).SetTag("tokens", tokens);
        Activity.Current = before;
        return started;
    }

    /// <summary>Few values, so that the tag does not multiply series.</summary>
    internal static string TokensBucket(int tokens) => tokens switch { 1 => "1", <= 8 => "2-8", <= 64 => "9-64", _ => "65+" };

    /// <summary>A histogram with the bucket boundaries that the conventions advise.</summary>
    private static Histogram<double> Seconds(string name, params double[] boundaries) =>
        Meter.CreateHistogram(name, "s", advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = boundaries });
}
