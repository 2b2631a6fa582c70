using System.Globalization;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Simulation;
using Xunit.Abstractions;

namespace E2LLM.Tests.Simulation;

public class AddedRateRouterTests(ITestOutputHelper output)
{
    private static readonly ModelCost Experts = ModelCost.Parse("""
        { "name": "experts", "layerCount": 8, "hiddenSize": 1024, "headCount": 16, "kvHeadCount": 4, "headDim": 64, "feedForwardSize": 1024,
          "vocabularySize": 32000, "contextLength": 8192, "tensorType": "Q4_K_M", "weightBitsPerWeight": 4.83, "kvElementType": "F16", "tiedHead": false,
          "expertCount": 32, "expertUsedCount": 2, "slidingWindow": 0, "slidingWindowEvery": 1 }
        """);

    // One reads prompts, two unlike ones decode. With the first few sequences a step reads ever more experts; with many it reads them all whoever comes.
    private static readonly DeploymentPlan Plan = SmallDeployment.Plan(
        SmallDeployment.Replica("p", ReplicaRole.Prefill, 0, ("p", 0, 8)),
        SmallDeployment.Replica("d0", ReplicaRole.Decode, 64, ("fast", 0, 8)),
        SmallDeployment.Replica("d1", ReplicaRole.Decode, 64, ("slow", 0, 8)));

    private static readonly Cluster Cluster = Cluster.Parse("""
        { "devices": [
            { "name": "p", "memoryBytes": 4000000000, "computeFlopsPerSecond": 4e12, "memoryBytesPerSecond": 8e10 },
            { "name": "fast", "memoryBytes": 4000000000, "computeFlopsPerSecond": 4e12, "memoryBytesPerSecond": 8e10 },
            { "name": "slow", "memoryBytes": 4000000000, "computeFlopsPerSecond": 2e12, "memoryBytesPerSecond": 4e10 } ],
          "links": { "default": { "bytesPerSecond": 1e9, "roundTripSeconds": 0.0004 } } }
        """);

    [Fact]
    public void Run_UnderASteadyLoadOfAMixtureOfExperts_TakesLessTimeThanByOwnTimeOrDelay()
    {
        double step = Mean(RouterKind.AddedRate), own = Mean(RouterKind.JsqWait), delay = Mean(RouterKind.LeastDelay);
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"added rate {step:F3} s, own wait {own:F3} s, delay of those present {delay:F3} s"));
        Assert.InRange(step, 0, 0.97 * own);
        Assert.InRange(step, 0, 0.97 * delay);
    }

    [Fact]
    public void Run_OfSequencesThatComeOneByOne_SendsEachWhereTheRateGrowsMost()
    {
        // Prompts of one token and outputs without end for this test: the k-th request meets k - 1 decoding. Beside it the same choice from the cost model alone.
        SimulatedRequest[] requests = [.. Enumerable.Range(0, 24).Select(i => new SimulatedRequest(i * 0.05, 1, 4000))];
        ServingReport report = ClusterSimulator.Run(Plan, Cluster, Experts, requests, new SimulationOptions { Router = RouterKind.AddedRate, BootstrapCount = 0 });
        int[] at = [0, 0];
        foreach (CompletedRequest request in report.Requests.OrderBy(r => r.Id))
        {
            int expected = Added(1, at[0]) >= Added(2, at[1]) ? 0 : 1;
            Assert.Equal(1 + expected, request.DecodeReplica);
            at[expected]++;
        }

        Assert.True(at[1] > 0);
    }

    // Sequences per second that one more adds to `sequences` on a device, at the context that routers reckon with.
    private static double Added(int device, int sequences)
    {
        double Rate(int n) => n == 0 ? 0 : n / StageCost.DecodeSeconds(Cluster.Devices[device], Experts, new LayerRange(0, 8), true, true, n, 1024);
        return Rate(sequences + 1) - Rate(sequences);
    }

    private static double Mean(RouterKind router)
    {
        SimulatedRequest[] requests = [.. Enumerable.Range(0, 1500).Select(i => new SimulatedRequest(i * 0.02, 100, 150))];
        return ClusterSimulator.Run(Plan, Cluster, Experts, requests, new SimulationOptions { Router = router, BootstrapCount = 0 }).EndToEndSeconds.Mean;
    }
}
