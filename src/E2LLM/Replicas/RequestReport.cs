namespace E2LLM.Replicas;

/// <summary>What one request cost so far. A snapshot; immutable.</summary>
public sealed record RequestReport
{
    /// <summary>Replica that read the prompt last; null before it was chosen.</summary>
    public string? PrefillReplica { get; init; }

    /// <summary>Replica that generates, or generated last; null before it was chosen.</summary>
    public string? DecodeReplica { get; init; }

    /// <summary>Tokens of the prompt.</summary>
    public int PromptTokenCount { get; init; }

    /// <summary>
    /// Of <see cref="PromptTokenCount"/>, and of what was generated before a recovery, the tokens whose keys and values the prefill replica held from earlier
    /// requests: all of its stages skipped them. A multiple of 64, or 0.
    /// </summary>
    public int ReusedPromptTokenCount { get; init; }

    /// <summary>Tokens delivered.</summary>
    public int OutputTokenCount { get; init; }

    /// <summary>Seconds from the request to its first token, waiting included; NaN before it.</summary>
    public double TtftSeconds { get; init; } = double.NaN;

    /// <summary>Seconds per token after the first, on average; NaN before the second.</summary>
    public double TpotSeconds { get; init; } = double.NaN;

    /// <summary>Bytes of keys and values that moved between replicas, as coded on the wire, without frame overhead.</summary>
    public long KvTransferBytes { get; init; }

    /// <summary>Times that the request was continued elsewhere after a device was lost.</summary>
    public int RecoveryCount { get; init; }
}
