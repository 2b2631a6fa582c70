using E2LLM.Costs;
using E2LLM.Simulation.Events;

namespace E2LLM.Simulation.Workloads;

/// <summary>Draws requests from a workload. Stateless; arrivals, prompts and outputs have streams of their own, so changing one leaves the others as they were.</summary>
public static class RequestGenerator
{
    /// <summary>Draws <paramref name="count"/> requests.</summary>
    /// <param name="workload">The workload. A trace of arrivals that is shorter than <paramref name="count"/> is repeated end to end.</param>
    /// <param name="count">Requests; at least 1.</param>
    /// <param name="seed">Same seed, same requests.</param>
    public static IReadOnlyList<SimulatedRequest> Generate(Workload workload, int count, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(workload);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        var arrivals = new SeededRandom(seed, stream: 1);
        var prompts = new SeededRandom(seed, stream: 2);
        var outputs = new SeededRandom(seed, stream: 3);
        var requests = new SimulatedRequest[count];
        double time = 0;
        for (int i = 0; i < count; i++)
        {
            time = NextArrival(workload.Arrivals, i, time, arrivals);
            requests[i] = new SimulatedRequest(
                time, workload.PromptTokens.Quantile(prompts.NextDouble()), workload.OutputTokens.Quantile(outputs.NextDouble()));
        }

        return requests;
    }

    private static double NextArrival(ArrivalProcess process, int index, double time, SeededRandom random)
    {
        switch (process.Kind)
        {
            case ArrivalKind.Fixed:
                // Multiplied, not summed: the millionth request is still on time.
                return index * process.PeriodSeconds;
            case ArrivalKind.Poisson:
                return time + (random.NextExponential() / process.RequestsPerSecond);
            case ArrivalKind.Gamma:
                double shape = 1 / (process.CoefficientOfVariation * process.CoefficientOfVariation);
                return time + (random.NextGamma(shape) / shape / process.RequestsPerSecond);
            default:
                int length = process.TraceSeconds.Count, round = index / length;
                double span = process.TraceSeconds[^1] + process.PeriodSeconds;
                return (round * span) + process.TraceSeconds[index % length];
        }
    }
}
