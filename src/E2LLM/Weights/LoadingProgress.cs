namespace E2LLM.Weights;

/// <summary>How far the loading of weights is. Reported after each tensor, on the loading thread.</summary>
/// <param name="DoneBytes">Bytes of weights in memory.</param>
/// <param name="TotalBytes">Bytes when all are loaded, <see cref="WeightsMemory.TotalBytes"/>.</param>
public readonly record struct LoadingProgress(long DoneBytes, long TotalBytes)
{
    /// <summary>0 to 1.</summary>
    public double DoneFraction => TotalBytes == 0 ? 1 : (double)DoneBytes / TotalBytes;
}
