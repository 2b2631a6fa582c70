using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Simulation;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>What the simulator says of requests, with the policies of this library's own runtime.</summary>
/// <param name="cluster">The devices with their profiles, and their links.</param>
/// <param name="model">The model.</param>
/// <param name="chunkTokens">Tokens of a prompt that go through a stage at once.</param>
/// <param name="ct">Stops a simulation.</param>
internal sealed class Prediction(Cluster cluster, ModelCost model, int chunkTokens, CancellationToken ct)
{
    private readonly SimulationOptions _policies = new() { Router = RouterKind.Dispatcher, ChunkTokens = chunkTokens, MixedChunkTokens = chunkTokens, BootstrapCount = 0 };

    /// <summary>Each request, in the order of arrival.</summary>
    public IReadOnlyList<MeasuredRequest> Of(DeploymentPlan plan, IReadOnlyList<SimulatedRequest> requests)
    {
        string[] names = [.. plan.Replicas.Select(replica => replica.Name)];
        return [.. Run(plan, requests).Requests.OrderBy(request => request.Id).Select(request => MeasuredRequest.From(request, names))];
    }

    /// <summary>Requests that are completed per second.</summary>
    public double RequestsPerSecond(DeploymentPlan plan, IReadOnlyList<SimulatedRequest> requests) => Run(plan, requests).RequestsPerSecond;

    private ServingReport Run(DeploymentPlan plan, IReadOnlyList<SimulatedRequest> requests) => ClusterSimulator.Run(plan, cluster, model, requests, _policies, cancellationToken: ct);
}
