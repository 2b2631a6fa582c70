using E2LLM.Transfer;
using Microsoft.Extensions.Logging;

namespace E2LLM.Replicas;

/// <summary>How a stage talks to others. Immutable; thread-safe.</summary>
public sealed record StageHostOptions
{
    /// <summary>Name of this device, as in the plan: streams meant for another device are refused.</summary>
    public required string Name { get; init; }

    /// <summary>Opens streams to the next stage and to decode stages.</summary>
    public required PeerConnector Connect { get; init; }

    /// <summary>How connections are watched.</summary>
    public ConnectionOptions Connections { get; init; } = new();

    /// <summary>
    /// How keys and values sent to decode stages are coded, where a driver does not say otherwise (<see cref="ReplicaOptions.KvCodec"/>). Default <see cref="KvCodecPolicy.Auto"/>: lossless,
    /// whatever moves most on the link.
    /// </summary>
    public KvCodecPolicy CodecPolicy { get; init; } = KvCodecPolicy.Auto;

    /// <summary>Codecs understood in keys and values received. Default: all of this library.</summary>
    public KvCodecSet Codecs { get; init; } = KvCodecSet.Default;

    /// <summary>
    /// Whether keys and values leave layer by layer and chunk by chunk while the prompt is still being read (default), or all together afterwards: to see what
    /// the sending meanwhile is worth, or to leave a processor to the computing alone.
    /// </summary>
    public bool SendsWhilePrefilling { get; init; } = true;

    /// <summary>
    /// KV blocks that keep what ended sequences left at most, for prompts of the same driver that begin alike; the longest unused go first, and all of them as
    /// soon as a sequence needs the memory. 0 keeps none; null (default) sets no bound but the pool itself. Changes no token where codecs are lossless.
    /// </summary>
    public int? KeptKvBlockCount { get; init; }

    /// <summary>
    /// Loads layers when a plan orders other ones than are held. Null (default): the device keeps what it was made with, and refuses such orders.
    /// </summary>
    public StageLoader? Load { get; init; }

    /// <summary>
    /// Times as long that each piece of the stage's work takes, by resting after it: emulates a slower device, for trying out a cluster of unlike devices on one machine. Changes no
    /// result. Default 1 (no rest); 1 to 1,000,000.
    /// </summary>
    public double Slowdown { get; init; } = 1;

    /// <summary>
    /// Measures the work that <see cref="Slowdown"/> multiplies, read on the thread that works. Default the system's clock; one of the thread's processor time leaves out what
    /// other threads of a busy machine take away.
    /// </summary>
    public TimeProvider WorkClock { get; init; } = TimeProvider.System;

    /// <summary>Makes the loggers (category <c>E2LLM.Replicas.StageHost</c>); null (default) logs nothing. Counts, names and reasons only, never text; what there is: Diagnostics/README.md.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    /// <summary>Checks the values.</summary>
    /// <exception cref="ArgumentException">One is missing or outside its range.</exception>
    public void Validate()
    {
        ArgumentException.ThrowIfNullOrEmpty(Name);
        if (System.Text.Encoding.UTF8.GetByteCount(Name) > 200)
        {
            throw new ArgumentException("A device name has at most 200 bytes.", nameof(Name));
        }

        ArgumentNullException.ThrowIfNull(Connect);
        ArgumentNullException.ThrowIfNull(Connections);
        ArgumentNullException.ThrowIfNull(CodecPolicy);
        ArgumentNullException.ThrowIfNull(Codecs);
        Connections.Validate();
        ArgumentOutOfRangeException.ThrowIfNegative(KeptKvBlockCount ?? 0, nameof(KeptKvBlockCount));
        ArgumentNullException.ThrowIfNull(WorkClock);
        if (!(Slowdown is >= 1 and <= 1e6))
        {
            throw new ArgumentOutOfRangeException(nameof(Slowdown), Slowdown, "Must be 1 to 1,000,000.");
        }
    }
}
