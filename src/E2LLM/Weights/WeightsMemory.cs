namespace E2LLM.Weights;

/// <summary>Bytes of memory that weights take once loaded, repacking included.</summary>
/// <param name="EmbeddingBytes">The embedding matrix; also the head's where the two are tied and both are held.</param>
/// <param name="LayerBytes">All layers of the range.</param>
/// <param name="HeadBytes">The final norm, and the head's matrix unless it is counted as embedding.</param>
public sealed record WeightsMemory(long EmbeddingBytes, long LayerBytes, long HeadBytes)
{
    /// <summary>All together.</summary>
    public long TotalBytes => checked(EmbeddingBytes + LayerBytes + HeadBytes);
}
