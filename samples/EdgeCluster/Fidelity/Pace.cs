using System.Diagnostics;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>A wire of some speed: one message after another. Thread-safe.</summary>
internal sealed class Pace(double bytesPerSecond)
{
    private readonly Lock gate = new();
    private long freeAt;

    /// <summary>The time stamp at which <paramref name="bytes"/> that come at <paramref name="now"/> are through.</summary>
    public long Through(long now, int bytes)
    {
        lock (gate)
        {
            freeAt = Math.Max(now, freeAt) + (long)(bytes / bytesPerSecond * Stopwatch.Frequency);
            return freeAt;
        }
    }
}
