namespace E2LLM.Profiling;

/// <summary>A median and the robust relative spread around it.</summary>
/// <param name="Seconds">Median of the passes; positive.</param>
/// <param name="SpreadFraction">1.4826 times the median absolute deviation, divided by the median: the relative standard deviation where errors are normal.</param>
internal readonly record struct Timing(double Seconds, double SpreadFraction);

/// <summary>Times single passes, each with cold caches. Not thread-safe.</summary>
/// <param name="clock">The clock.</param>
/// <param name="evictionBytes">Bytes to touch before each timed pass.</param>
/// <param name="threadCount">Threads that touch them: processors with split caches are reached by several threads only.</param>
/// <param name="rest">How long to rest before each timed pass.</param>
internal sealed class PassTimer(TimeProvider clock, long evictionBytes, int threadCount, TimeSpan rest = default)
{
    // Consistency factor of the median absolute deviation for the normal distribution: 1 / Phi^-1(3/4).
    private const double NormalConsistency = 1.4826;
    private const int WordsPerLine = 64 / sizeof(long);
    private const int WordsPerPart = 1 << 17;

    // Written, not only read: untouched pages all map to one page of zeros and would push nothing out.
    private readonly long[] _evicted = new long[evictionBytes / sizeof(long)];

    /// <summary>Seconds since a time stamp, at the clock's own resolution; at least one tick, so that no figure is zero.</summary>
    public static double SecondsSince(long began, TimeProvider clock) => Math.Max(clock.GetTimestamp() - began, 1) / (double)clock.TimestampFrequency;

    public static double Median(ReadOnlySpan<double> values)
    {
        double[] sorted = values.ToArray();
        Array.Sort(sorted);
        int half = sorted.Length / 2;
        return sorted.Length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
    }

    /// <summary>Median and spread of the given seconds.</summary>
    public static Timing Summarize(ReadOnlySpan<double> seconds)
    {
        double median = Median(seconds);
        var deviations = new double[seconds.Length];
        for (int i = 0; i < deviations.Length; i++)
        {
            deviations[i] = Math.Abs(seconds[i] - median);
        }

        return new Timing(median, NormalConsistency * Median(deviations) / median);
    }

    /// <summary>Runs <paramref name="prepare"/> and <paramref name="pass"/> once untimed, then as often as asked, and times the passes alone.</summary>
    public Timing Measure(int repeatCount, Action prepare, Action pass, CancellationToken ct)
    {
        prepare();
        pass();
        var seconds = new double[repeatCount];
        for (int i = 0; i < repeatCount; i++)
        {
            ct.ThrowIfCancellationRequested();
            prepare();
            Evict();
            if (rest > TimeSpan.Zero && ct.WaitHandle.WaitOne(rest))
            {
                ct.ThrowIfCancellationRequested();
            }

            long began = clock.GetTimestamp();
            pass();
            seconds[i] = SecondsSince(began, clock);
        }

        return Summarize(seconds);
    }

    private void Evict()
    {
        int parts = (_evicted.Length + WordsPerPart - 1) / WordsPerPart;
        if (parts > 0)
        {
            Parallel.For(0, parts, new ParallelOptions { MaxDegreeOfParallelism = threadCount }, part =>
            {
                int end = Math.Min(_evicted.Length, (part + 1) * WordsPerPart);
                for (int word = part * WordsPerPart; word < end; word += WordsPerLine)
                {
                    _evicted[word]++;
                }
            });
        }
    }
}
