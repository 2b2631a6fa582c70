namespace E2LLM.Execution;

/// <summary>How an executor runs. Immutable.</summary>
public sealed record ExecutorOptions
{
    // Four thousand positions: several short sequences of a small model without any setting.
    private const int SmallestDefaultBlockCount = 64;

    /// <summary>Threads that compute, the calling one among them; 0 (default) takes as many as the process may use. 0 to 1,024. Changes no result.</summary>
    public int ThreadCount { get; init; }

    /// <summary>How keys and values are stored. Default F16.</summary>
    public KvElementType KvElementType { get; init; } = KvElementType.F16;

    /// <summary>
    /// Blocks of 64 positions in the KV pool, for all sequences together; null (default) takes what <see cref="KvBudgetBytes"/> allows, or without one
    /// a sequence of the model's whole context and at least 64 blocks. Memory is taken as blocks are used.
    /// </summary>
    public int? KvBlockCount { get; init; }

    /// <summary>Bytes that the KV pool may take; null (default) sets no such bound. Ignored where <see cref="KvBlockCount"/> is given.</summary>
    public long? KvBudgetBytes { get; init; }

    /// <summary>
    /// Tokens that go through a layer together at most; a longer batch is cut into pieces. Buffers are sized by it. Default 512, 1 to 65,536. Changes no result.
    /// </summary>
    public int MaxBatchTokenCount { get; init; } = 512;

    /// <summary>Checks the numbers.</summary>
    /// <exception cref="ArgumentOutOfRangeException">One is out of its range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfNegative(ThreadCount);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ThreadCount, 1024);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxBatchTokenCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(MaxBatchTokenCount, 65_536);
        ArgumentOutOfRangeException.ThrowIfNegative(KvBlockCount ?? 0, nameof(KvBlockCount));
        ArgumentOutOfRangeException.ThrowIfNegative(KvBudgetBytes ?? 0, nameof(KvBudgetBytes));
    }

    internal int ResolveThreadCount() => ThreadCount > 0 ? ThreadCount : Environment.ProcessorCount;

    internal int ResolveKvBlockCount(long blockBytes, int blockTokens, int contextLength)
    {
        if (KvBlockCount is { } count)
        {
            return count;
        }

        if (KvBudgetBytes is { } budget)
        {
            return blockBytes == 0 ? SmallestDefaultBlockCount : (int)Math.Min(budget / blockBytes, int.MaxValue);
        }

        return Math.Max(SmallestDefaultBlockCount, (contextLength + blockTokens - 1) / blockTokens);
    }
}
