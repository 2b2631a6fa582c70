namespace E2LLM.Weights;

/// <summary>
/// One stretch of memory for all weights of a model, handed out in the order of loading, which is the order of use: what is fetched ahead at the end of a matrix is the beginning of the next, and large pages span
/// several. Owns the memory; what it hands out lives as long. Not thread-safe.
/// </summary>
/// <param name="bytes">Room for all buffers, each rounded up by <see cref="AlignedBuffer.RoundUp"/>.</param>
internal sealed class WeightArena(long bytes) : IDisposable
{
    private readonly AlignedBuffer _memory = new(bytes);
    private long _used;

    /// <summary>The next zeroed part.</summary>
    internal AlignedBuffer Take(long bytes)
    {
        AlignedBuffer part = _memory.Part(_used, bytes);
        _used += part.Bytes;
        return part;
    }

    public void Dispose() => _memory.Dispose();
}
