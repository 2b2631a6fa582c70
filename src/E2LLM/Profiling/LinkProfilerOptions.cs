namespace E2LLM.Profiling;

/// <summary>How <see cref="LinkProfiler"/> measures. Immutable.</summary>
public sealed record LinkProfilerOptions
{
    /// <summary>Timed echoes, and timed transfers in each direction; medians count. Default 5, 1 to 10,000.</summary>
    public int RepeatCount { get; init; } = 5;

    /// <summary>Bytes of the first transfer; the size is doubled until one takes <see cref="TransferSeconds"/>. Default 64 KiB, at least 1.</summary>
    public long FirstTransferBytes { get; init; } = 64 << 10;

    /// <summary>Most bytes of one transfer, for the initiator; and most that a responder sends or takes at once. Default 256 MiB, at most 16 GiB.</summary>
    public long MaxTransferBytes { get; init; } = 256L << 20;

    /// <summary>Seconds that a transfer should take, so that the latency weighs little in it. Default 0.25, above 0, at most 60.</summary>
    public double TransferSeconds { get; init; } = 0.25;

    /// <summary>The clock. Default the system's.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Checks the numbers.</summary>
    /// <exception cref="ArgumentException">One is out of its range.</exception>
    public void Validate()
    {
        ArgumentNullException.ThrowIfNull(TimeProvider);
        ArgumentOutOfRangeException.ThrowIfLessThan(RepeatCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(RepeatCount, 10_000);
        ArgumentOutOfRangeException.ThrowIfLessThan(FirstTransferBytes, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxTransferBytes, FirstTransferBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(MaxTransferBytes, 16L << 30);
        if (!(TransferSeconds is > 0 and <= 60))
        {
            throw new ArgumentOutOfRangeException(nameof(TransferSeconds), TransferSeconds, "Must be above 0 and at most 60.");
        }
    }
}
