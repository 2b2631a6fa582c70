using System.Diagnostics;

namespace E2LLM.Benchmarks;

/// <summary>Repeats an action and tells its seconds: the least says what the machine can do, the median what it did beside its other work.</summary>
internal static class Clock
{
    public static (double Least, double Median) Seconds(int repeats, Action action)
    {
        action();
        double[] times = new double[repeats];
        for (int i = 0; i < repeats; i++)
        {
            long start = Stopwatch.GetTimestamp();
            action();
            times[i] = Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        Array.Sort(times);
        return (times[0], times[repeats / 2]);
    }
}
