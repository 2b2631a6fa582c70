using E2LLM.Simulation;

namespace E2LLM.Simulation.Validation;

/// <summary>
/// The same textbook queues without a simulator: Kiefer and Wolfowitz's recursion over the work left at each server (Lindley's for one server). It knows nothing of events, so where
/// both give the same mean for the same requests, what is off a closed form is the sample and not the simulator. Stateless. Shared by the tests and the report.
/// </summary>
internal static class LindleyQueue
{
    /// <summary>Mean wait, and the half-width of its 95 % interval by the same batch means as <see cref="QueueExperiment"/> has.</summary>
    public static (double MeanWaitSeconds, double HalfWidthSeconds) Run(int servers, double load, bool deterministic, long count, ulong seed)
    {
        var left = new double[servers];
        var means = new BatchMeans(count);
        double last = 0;
        long index = 0;
        foreach (SimulatedRequest request in QueueExperiment.Requests(servers * load, deterministic, count, seed))
        {
            double gap = request.ArrivalSeconds - last;
            last = request.ArrivalSeconds;
            int least = 0;
            for (int i = 0; i < servers; i++)
            {
                left[i] = Math.Max(0, left[i] - gap);
                least = left[i] < left[least] ? i : least;
            }

            means.Add(index++, left[least]);
            left[least] += request.PromptTokens / QueueExperiment.TokenTimes.TokensPerSecond;
        }

        return (means.Mean, means.HalfWidth);
    }
}

/// <summary>Batch means: the mean of a correlated series and the half-width of its 95 % interval, from the means of 40 parts of equal length. Not thread-safe.</summary>
internal sealed class BatchMeans(long count)
{
    private const int BatchCount = 40;

    // Student's t for 39 degrees of freedom, 97.5 %.
    private const double StudentT = 2.0227;
    private readonly double[] _sums = new double[BatchCount];
    private readonly long[] _sizes = new long[BatchCount];

    public double Mean => _sums.Sum() / _sizes.Sum();

    public double HalfWidth
    {
        get
        {
            double[] means = [.. _sums.Zip(_sizes).Where(b => b.Second > 0).Select(b => b.First / b.Second)];
            double average = means.Average();
            double variance = means.Length > 1 ? means.Sum(m => (m - average) * (m - average)) / (means.Length - 1) : 0;
            return StudentT * Math.Sqrt(variance / means.Length);
        }
    }

    /// <summary>Takes the value with number <paramref name="index"/> of all.</summary>
    public void Add(long index, double value)
    {
        int batch = (int)(index * BatchCount / count);
        _sums[batch] += value;
        _sizes[batch]++;
    }
}
