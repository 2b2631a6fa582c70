using Microsoft.Extensions.Logging;

namespace E2LLM.Replicas;

/// <summary>How a replica is driven. Immutable; thread-safe.</summary>
public sealed record ReplicaOptions
{
    /// <summary>Name of the driver, for messages of the stages.</summary>
    public string Name { get; init; } = "dispatcher";

    /// <summary>How connections are watched.</summary>
    public ConnectionOptions Connections { get; init; } = new();

    /// <summary>How keys and values are stored at the stages; must be the same on all stages of all replicas. Default F16.</summary>
    public KvElementType KvElementType { get; init; } = KvElementType.F16;

    /// <summary>
    /// Name of the codec policy with which the stages of this replica send keys and values (<see cref="Transfer.KvCodecPolicy.Names"/>); a plan's own
    /// (<see cref="Deployment.ReplicaPlan.KvCodec"/>) goes first. Null (default) leaves it to each stage.
    /// </summary>
    public string? KvCodec { get; init; }

    /// <summary>
    /// Whether keys and values of layer 0, which depend on token and position alone, are computed where they are needed instead of sent: saves one part in as many as the model has layers of what moves, for about a
    /// thousandth of the work of reading the prompt. Null (default) decides for each prompt by measurement: computed where the link is slower than the reading, by more than computing takes (benchmarks/KV_TRANSFER.md). Of decode and
    /// mixed replicas. With a lossy codec layer 0 is exact where it is computed, so that it is only on demand there.
    /// </summary>
    public bool? ComputesFirstLayer { get; init; }

    /// <summary>
    /// Tokens in a step at most: the chunk in which prompts are read. Smaller ones fill a pipeline sooner, larger ones waste less. Default 128; 1 to 65,536.
    /// Never more than what the smallest stage takes.
    /// </summary>
    public int ChunkTokenCount { get; init; } = 128;

    /// <summary>
    /// Sequences held at once at most; null (default) takes the plan's decode slots, or as many as the KV blocks of the smallest stage hold where the plan
    /// names none. At least 1.
    /// </summary>
    public int? MaxSequenceCount { get; init; }

    /// <summary>Tokens generated ahead of a slow consumer at most; its sequence then rests. Default 32; at least 1.</summary>
    public int TokenBufferCount { get; init; } = 32;

    /// <summary>Makes the loggers (category <c>E2LLM.Replicas.Replica</c>); null (default) takes those of the dispatcher that connects. Counts, names and reasons only, never text; what there is: Diagnostics/README.md.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    /// <summary>Checks the values.</summary>
    /// <exception cref="ArgumentException">One is outside its range.</exception>
    public void Validate()
    {
        ArgumentException.ThrowIfNullOrEmpty(Name);
        ArgumentNullException.ThrowIfNull(Connections);
        Connections.Validate();
        ArgumentOutOfRangeException.ThrowIfLessThan(ChunkTokenCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ChunkTokenCount, 65_536);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxSequenceCount ?? 1, 1, nameof(MaxSequenceCount));
        ArgumentOutOfRangeException.ThrowIfLessThan(TokenBufferCount, 1);
        if (KvCodec is not null && !Transfer.KvCodecPolicy.TryParse(KvCodec, out _))
        {
            throw new ArgumentException($"Unknown codec \"{KvCodec}\". Known: {string.Join(", ", Transfer.KvCodecPolicy.Names)}.", nameof(KvCodec));
        }

        if (!Enum.IsDefined(KvElementType))
        {
            throw new ArgumentOutOfRangeException(nameof(KvElementType), KvElementType, "Unknown KV element type.");
        }
    }
}
