using System.Collections.Concurrent;
using System.Diagnostics;
using E2LLM.Diagnostics;

namespace E2LLM.Tests.Support;

/// <summary>Every activity of the library that ends while it is there, recorded whole. Other tests run beside: theirs are among them.</summary>
internal sealed class StoppedActivities : IDisposable
{
    private readonly ConcurrentBag<Activity> _stopped = [];
    private readonly ActivityListener _listener;

    public StoppedActivities()
    {
        _listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == Telemetry.SourceName,
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = _stopped.Add,
        };
        ActivitySource.AddActivityListener(_listener);
    }

    public IReadOnlyCollection<Activity> All => _stopped;

    public void Dispose() => _listener.Dispose();
}
