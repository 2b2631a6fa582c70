using System.Diagnostics;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>A wire of some speed: one message after another. Thread-safe.</summary>
internal sealed class Pace(double bytesPerSecond)
{
    private readonly Lock _gate = new();
    private long _freeAt;

    /// <summary>The time stamp at which <paramref name="bytes"/> that come at <paramref name="now"/> are through.</summary>
    public long Through(long now, int bytes)
    {
        lock (_gate)
        {
            _freeAt = Math.Max(now, _freeAt) + (long)(bytes / bytesPerSecond * Stopwatch.Frequency);
            return _freeAt;
        }
    }
}
