using E2LLM.Simulation.Events;

namespace E2LLM.Simulation.Metrics;

/// <summary>
/// One metric over all requests of a run. Definitions (all seconds, of one request; sources: the papers of E2LLM, Splitwise and DistServe):
/// end-to-end = last token - arrival; TTFT = first token - arrival; TPOT = (last token - first token) / (output tokens - 1);
/// waiting = end-to-end - end-to-end of the same request alone on the idle system under the same plan, on its best route; longest gap = longest time between two of its tokens.
/// Percentiles interpolate linearly between order statistics. Immutable.
/// </summary>
/// <param name="Mean">Arithmetic mean; NaN where there are no samples.</param>
/// <param name="Std">Standard deviation (population).</param>
/// <param name="P50">Median.</param>
/// <param name="P90">90th percentile.</param>
/// <param name="P99">99th percentile.</param>
/// <param name="Ci95Low">Lower end of the 95 % interval of the mean.</param>
/// <param name="Ci95High">Upper end of the 95 % interval of the mean.</param>
public sealed record SampleSummary(double Mean, double Std, double P50, double P90, double P99, double Ci95Low, double Ci95High)
{
    private const int MaximumBlockCount = 256;

    /// <summary>Half the width of the interval over the mean.</summary>
    public double RelativeHalfWidth => (Ci95High - Ci95Low) / 2 / Mean;

    /// <summary>Summarises samples in the order of arrival.</summary>
    /// <param name="samples">One value for each request that has the metric.</param>
    /// <param name="bootstrapCount">Resamples; 0: the interval is the mean.</param>
    /// <param name="seed">Seed of the resampling.</param>
    internal static SampleSummary Of(ReadOnlySpan<double> samples, int bootstrapCount, ulong seed)
    {
        if (samples.IsEmpty)
        {
            return new SampleSummary(double.NaN, double.NaN, double.NaN, double.NaN, double.NaN, double.NaN, double.NaN);
        }

        double mean = 0, squares = 0;
        for (int i = 0; i < samples.Length; i++)
        {
            // Welford: no cancellation for long runs.
            double delta = samples[i] - mean;
            mean += delta / (i + 1);
            squares += delta * (samples[i] - mean);
        }

        double[] sorted = samples.ToArray();
        Array.Sort(sorted);
        (double low, double high) = bootstrapCount > 0 ? BlockBootstrap(samples, mean, bootstrapCount, seed) : (mean, mean);
        return new SampleSummary(
            mean, Math.Sqrt(squares / samples.Length), Percentile(sorted, 0.50), Percentile(sorted, 0.90), Percentile(sorted, 0.99), low, high);
    }

    /// <summary>The value at a share of the way through ascending samples, linear between neighbours.</summary>
    internal static double Percentile(ReadOnlySpan<double> ascending, double share)
    {
        double position = share * (ascending.Length - 1);
        int below = (int)position;
        return below + 1 < ascending.Length ? ascending[below] + ((position - below) * (ascending[below + 1] - ascending[below])) : ascending[below];
    }

    // Neighbours in a queue wait alike, so whole blocks of consecutive requests are drawn (Kuensch, 1989; block length about n^(1/3),
    // longer where that would make more blocks than are needed).
    private static (double Low, double High) BlockBootstrap(ReadOnlySpan<double> samples, double mean, int count, ulong seed)
    {
        int length = Math.Max((int)Math.Ceiling(Math.Cbrt(samples.Length)), (samples.Length + MaximumBlockCount - 1) / MaximumBlockCount);
        int blocks = (samples.Length + length - 1) / length;
        var sums = new double[blocks];
        var sizes = new int[blocks];
        for (int i = 0; i < samples.Length; i++)
        {
            sums[i / length] += samples[i];
            sizes[i / length]++;
        }

        if (blocks == 1)
        {
            return (mean, mean);
        }

        var random = new SeededRandom(seed, stream: 11);
        var means = new double[count];
        for (int i = 0; i < count; i++)
        {
            double sum = 0;
            long size = 0;
            for (int j = 0; j < blocks; j++)
            {
                int block = random.NextInt32(blocks);
                sum += sums[block];
                size += sizes[block];
            }

            means[i] = sum / size;
        }

        Array.Sort(means);
        return (Percentile(means, 0.025), Percentile(means, 0.975));
    }
}
