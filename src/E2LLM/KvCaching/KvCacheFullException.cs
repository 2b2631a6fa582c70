namespace E2LLM.KvCaching;

/// <summary>A KV cache needed more blocks than its pool has free. Nothing was changed: free sequences, or admit fewer, and try again.</summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Design", "CA1032", Justification = "Only the pool makes one, with its figures.")]
public sealed class KvCacheFullException : InvalidOperationException
{
    internal KvCacheFullException(int neededBlockCount, int freeBlockCount, int blockCount)
        : base($"The KV cache pool is full: {neededBlockCount} more blocks needed, {freeBlockCount} of {blockCount} free.")
    {
        NeededBlockCount = neededBlockCount;
        FreeBlockCount = freeBlockCount;
    }

    /// <summary>Blocks that the request needed on top of those it had.</summary>
    public int NeededBlockCount { get; }

    /// <summary>Blocks that were free.</summary>
    public int FreeBlockCount { get; }
}
