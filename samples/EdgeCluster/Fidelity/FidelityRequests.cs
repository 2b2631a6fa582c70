using E2LLM.Costs;
using E2LLM.Simulation;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>What is served: three pairs of lengths, drawn evenly. Stateless.</summary>
internal static class FidelityRequests
{
    public static IReadOnlyList<(int Prompt, int Output)> Lengths { get; } = [(32, 24), (64, 40), (96, 56)];

    /// <summary>What the plan is made for.</summary>
    public static Workload Workload { get; } = new()
    {
        Arrivals = ArrivalProcess.Poisson(1),
        PromptTokens = LengthDistribution.Empirical([.. Lengths.Select(length => length.Prompt)]),
        OutputTokens = LengthDistribution.Empirical([.. Lengths.Select(length => length.Output)]),
    };

    /// <summary>Requests whose distances are exponential, from a seeded generator.</summary>
    public static SimulatedRequest[] Poisson(double rate, int count, int seed)
    {
        var random = new Random(seed);
        var requests = new SimulatedRequest[count];
        double time = 0;
        for (int i = 0; i < requests.Length; i++)
        {
            time += -Math.Log(1 - random.NextDouble()) / rate;
            (int prompt, int output) = Lengths[random.Next(Lengths.Count)];
            requests[i] = new SimulatedRequest(time, prompt, output);
        }

        return requests;
    }
}
