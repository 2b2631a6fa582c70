namespace E2LLM.Profiling;

/// <summary>What <see cref="DeviceProfiler"/> measures, and how often. Immutable.</summary>
public sealed record DeviceProfilerOptions
{
    /// <summary>Name of the device in the result. Default "this-device".</summary>
    public string Name { get; init; } = "this-device";

    /// <summary>Bytes that the result offers for weights, KV cache and activations; null (default) takes what the runtime says is available to this process.</summary>
    public long? MemoryBytes { get; init; }

    /// <summary>Prompt tokens of the prefill passes, each at least 1; larger ones are cut to the model's context. Default 1, 16, 64, 256, 512.</summary>
    public IReadOnlyList<int> ChunkTokenCounts { get; init; } = [1, 16, 64, 256, 512];

    /// <summary>Tokens in the cache before a pass, each at least 0; deeper ones are cut to what the model's context leaves beside the largest chunk (or one token). Default 0, 512, 2048.</summary>
    public IReadOnlyList<int> ContextTokenCounts { get; init; } = [0, 512, 2048];

    /// <summary>Sequences of the decode steps, each at least 1; points that the executor's KV pool has no room for are left out. Default 1, 2, 4, 8, 16.</summary>
    public IReadOnlyList<int> BatchSizes { get; init; } = [1, 2, 4, 8, 16];

    /// <summary>Timed passes of each point; the median counts. Default 5, 1 to 10,000.</summary>
    public int RepeatCount { get; init; } = 5;

    /// <summary>
    /// Seconds of untimed passes before anything is timed, so that the just-in-time compiler has replaced its first code; at most 1,000 passes.
    /// Each point has one untimed pass of its own besides. Default 0.5, 0 to 60.
    /// </summary>
    public double WarmUpSeconds { get; init; } = 0.5;

    /// <summary>
    /// Most bytes that are touched before each timed pass to push the layers out of the processor's caches, as the model's other layers do when the whole
    /// model runs: one or two layers alone may stay in a cache and look too fast. Never more than the weights of those other layers. Default 256 MiB, 0 to 4 GiB.
    /// </summary>
    public long EvictionBytes { get; init; } = 256L << 20;

    /// <summary>
    /// Seconds of rest before each timed pass. A stage of a pipeline waits for others between two passes, and a processor that has rested begins slower than one that has not.
    /// Default 0 (a device that is never idle), at most 1.
    /// </summary>
    public double RestSeconds { get; init; }

    /// <summary>The clock. Default the system's.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Blocks of <paramref name="blockTokenCount"/> positions that an executor's KV pool needs for every point of these options.</summary>
    /// <param name="contextLength">Longest sequence of the model.</param>
    /// <param name="blockTokenCount">Positions in a block (KvCacheLayout.BlockTokenCount); at least 1.</param>
    /// <exception cref="ArgumentException">An option is out of its range.</exception>
    /// <exception cref="OverflowException">More blocks than an <see cref="int"/> can say.</exception>
    public int KvBlockCount(int contextLength, int blockTokenCount)
    {
        Validate();
        ArgumentOutOfRangeException.ThrowIfLessThan(blockTokenCount, 1);
        long perSequence = ((long)contextLength + blockTokenCount - 1) / blockTokenCount;
        long deepest = Math.Min(contextLength, ContextTokenCounts.Max() + 1L);
        long step = (deepest + blockTokenCount - 1) / blockTokenCount * BatchSizes.Max();
        return checked((int)Math.Max(perSequence, step));
    }

    /// <summary>Checks the numbers.</summary>
    /// <exception cref="ArgumentException">One is out of its range, or a list is empty.</exception>
    public void Validate()
    {
        ArgumentException.ThrowIfNullOrEmpty(Name);
        ArgumentNullException.ThrowIfNull(TimeProvider);
        ArgumentOutOfRangeException.ThrowIfNegative(MemoryBytes ?? 0, nameof(MemoryBytes));
        Check(ChunkTokenCounts, 1, nameof(ChunkTokenCounts));
        Check(ContextTokenCounts, 0, nameof(ContextTokenCounts));
        Check(BatchSizes, 1, nameof(BatchSizes));
        ArgumentOutOfRangeException.ThrowIfLessThan(RepeatCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(RepeatCount, 10_000);
        if (!(WarmUpSeconds is >= 0 and <= 60))
        {
            throw new ArgumentOutOfRangeException(nameof(WarmUpSeconds), WarmUpSeconds, "Must be 0 to 60.");
        }

        if (!(RestSeconds is >= 0 and <= 1))
        {
            throw new ArgumentOutOfRangeException(nameof(RestSeconds), RestSeconds, "Must be 0 to 1.");
        }

        ArgumentOutOfRangeException.ThrowIfNegative(EvictionBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(EvictionBytes, 4L << 30);
    }

    private static void Check(IReadOnlyList<int> values, int least, string name)
    {
        ArgumentNullException.ThrowIfNull(values, name);
        if (values.Count == 0)
        {
            throw new ArgumentException("The list is empty.", name);
        }

        foreach (int value in values)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(value, least, name);
        }
    }
}
