using E2LLM.Planning;

namespace E2LLM.Simulation.Report;

// The two systems that choose by simulation, when what counts is the largest rate at which enough requests are in time.
internal sealed partial class Systems
{
    private static readonly double[] LengthWeights = [0, 4, 16, 64];

    /// <summary>Step by step from <paramref name="at"/>: a neighbour is better if more of its requests are in time a little beyond the rate reached; B2 keeps to its rule.</summary>
    public (SystemUnderTest System, double Rate) Climb(
        SystemUnderTest at, double rate, Func<SystemUnderTest, double> goodput, Func<SystemUnderTest, double, double> attainedAt, double wanted)
    {
        for (int round = 0; round < 6; round++)
        {
            double beyond = Math.Max(rate * 1.05, 0.05);
            SimulationOptions now = at.Options;
            IEnumerable<SystemUnderTest> plans = _neighbours.Of(at.Plan).DistinctBy(PlanNeighbours.Key).Where(plan => at.Name != B2 || _full.ObeysFastestPrefill(plan))
                .Select(plan => at with { Plan = plan with { Planner = at.Name } });
            IEnumerable<SimulationOptions> policies = Policies.Select(p => now with { Router = p.Router }).Concat(LengthWeights.Select(w => now with { LengthWeight = w }))
                .Concat(MixedChunks.Select(chunk => now with { MixedChunkTokens = chunk })).Concat(Chunks.Select(chunk => now with { ChunkTokens = chunk }));
            (SystemUnderTest next, double attained) = plans.Concat(policies.Distinct().Select(p => at with { Options = p })).Select(s => (s, attainedAt(s, beyond))).MaxBy(x => x.Item2);
            double reached = attained >= wanted || attained > attainedAt(at, beyond) ? goodput(next) : 0;
            if (reached <= rate)
            {
                break;
            }

            (at, rate) = (next, reached);
        }

        return (at, rate);
    }
}
