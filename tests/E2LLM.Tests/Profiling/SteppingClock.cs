namespace E2LLM.Tests.Profiling;

/// <summary>A clock that moves on by itself whenever it is read, by the seconds that a function of the reading's number gives.</summary>
internal sealed class SteppingClock(Func<int, double> step) : TimeProvider
{
    private long _now;
    private int _readings;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => _now += (long)(step(_readings++) * TimeSpan.TicksPerSecond);
}
