using E2LLM.Transfer;

namespace E2LLM.Replicas;

/// <summary>How connections between devices are watched. The same on all of them, or at least compatible. Immutable; thread-safe.</summary>
public sealed record ConnectionOptions
{
    /// <summary>
    /// A peer that completes no frame for this long is lost; heartbeats go out four times as often, so a working one is never silent.
    /// Default 5 s; 100 ms to 1 h.
    /// </summary>
    public TimeSpan PeerTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// A frame under way gets its length divided by this on top of <see cref="PeerTimeout"/>: a peer that trickles bytes is lost too. Default
    /// 65,536 bytes per second; at least 1.
    /// </summary>
    public int MinBytesPerSecond { get; init; } = 64 << 10;

    /// <summary>Keys and values wait for the peer to read when this many bytes are queued for it. Default 1 MiB; at least 4 KiB.</summary>
    public int SendQueueBytes { get; init; } = 1 << 20;

    /// <summary>Caps on what a peer may send.</summary>
    public TransferLimits Limits { get; init; } = TransferLimits.Default;

    /// <summary>Clock.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Checks the values.</summary>
    /// <exception cref="ArgumentOutOfRangeException">One is outside its range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(PeerTimeout, TimeSpan.FromMilliseconds(100));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(PeerTimeout, TimeSpan.FromHours(1));
        ArgumentOutOfRangeException.ThrowIfLessThan(MinBytesPerSecond, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(SendQueueBytes, 4 << 10);
        ArgumentNullException.ThrowIfNull(TimeProvider);
        ArgumentNullException.ThrowIfNull(Limits);
        Limits.Validate();
    }
}
