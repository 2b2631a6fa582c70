using E2LLM.Simulation.Metrics;

namespace E2LLM.Simulation;

/// <summary>What a simulated deployment did with a trace. Times are seconds, metrics as <see cref="SampleSummary"/> defines them. Immutable.</summary>
public sealed record ServingReport
{
    /// <summary>Requests completed.</summary>
    public required long RequestCount { get; init; }

    /// <summary>Requests left out because no replica can hold them.</summary>
    public long DroppedCount { get; init; }

    /// <summary>Seed of the run.</summary>
    public required ulong Seed { get; init; }

    /// <summary>Name of the router.</summary>
    public required string Router { get; init; }

    /// <summary>Waiting time.</summary>
    public required SampleSummary WaitingSeconds { get; init; }

    /// <summary>Mean seconds from arrival to the first pass, beyond what the request alone would have.</summary>
    public double PrefillQueueSeconds { get; init; }

    /// <summary>Mean seconds from the first token to the KV cache's arrival, beyond what the request alone would have.</summary>
    public double KvWaitSeconds { get; init; }

    /// <summary>Mean seconds from the KV cache's arrival to the first decode step.</summary>
    public double DecodeQueueSeconds { get; init; }

    /// <summary>Time to first token.</summary>
    public required SampleSummary TtftSeconds { get; init; }

    /// <summary>Time per output token after the first, over requests with at least two.</summary>
    public required SampleSummary TpotSeconds { get; init; }

    /// <summary>End-to-end time.</summary>
    public required SampleSummary EndToEndSeconds { get; init; }

    /// <summary>Longest time between two tokens, over requests with at least two.</summary>
    public required SampleSummary LongestGapSeconds { get; init; }

    /// <summary>Mean end-to-end time that the same requests would have alone.</summary>
    public double MeanServiceSeconds { get; init; }

    /// <summary>Completed requests over the time from the first arrival to the last token.</summary>
    public required double RequestsPerSecond { get; init; }

    /// <summary>Output tokens over the same time.</summary>
    public required double TokensPerSecond { get; init; }

    /// <summary>Requests per second that met every target given; all of them where none was given.</summary>
    public required double GoodputRequestsPerSecond { get; init; }

    /// <summary>Share of requests that met every target given.</summary>
    public double Attainment { get; init; }

    /// <summary>Bytes of KV caches moved between replicas.</summary>
    public required double KvBytesMoved { get; init; }

    /// <summary>How busy each stage was.</summary>
    public required IReadOnlyList<StageUtilisation> Utilisation { get; init; }

    /// <summary>Prompt tokens passed over (recomputed ones count again) and tokens generated.</summary>
    public long PrefilledTokens { get; init; }

    /// <summary>Tokens generated.</summary>
    public long GeneratedTokens { get; init; }

    /// <summary>The integral of the number of requests in the system over time; by Little's law the sum of all end-to-end times.</summary>
    public double RequestSeconds { get; init; }

    /// <summary>Events handled, and a hash over all of them: equal hashes, equal runs.</summary>
    public long EventCount { get; init; }

    /// <summary>Hash of the event log.</summary>
    public ulong LogHash { get; init; }

    /// <summary>Plans made during the run.</summary>
    public int ReplanCount { get; init; }

    /// <summary>Every request, in the order of arrival; none in a report that was read from JSON, which has the summaries only.</summary>
    public required IReadOnlyList<CompletedRequest> Requests { get; init; }

    /// <summary>Reads a simulation report (<c>e2llm simulate --json</c>). What the format does not have stays at its default.</summary>
    /// <exception cref="DescriptionFormatException">The text is not a simulation report.</exception>
    public static ServingReport Parse(string json) => ServingReportJson.Read(json);

    /// <summary>Writes the JSON format of simulation reports, indented.</summary>
    public string ToJson() => ServingReportJson.Write(this);
}

/// <summary>How busy a stage was. Immutable.</summary>
/// <param name="Replica">Name of the replica.</param>
/// <param name="Stage">Index of the stage in it.</param>
/// <param name="Device">Name of the device.</param>
/// <param name="BusyFraction">Seconds in passes over the seconds of the run.</param>
public sealed record StageUtilisation(string Replica, int Stage, string Device, double BusyFraction);
