using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Simulation.Engine;
using E2LLM.Simulation.Models;
using E2LLM.Simulation.Workloads;

namespace E2LLM.Simulation;

/// <summary>
/// Simulates a deployment plan on a cluster, event by event. The same arguments give the same report, to the last bit, on every machine with
/// the same arithmetic. Stateless; thread-safe (each run is its own).
/// </summary>
public static class ClusterSimulator
{
    /// <summary>Draws <paramref name="requestCount"/> requests from a workload and simulates them.</summary>
    /// <param name="plan">Replicas, roles and stages.</param>
    /// <param name="cluster">The devices and links that the plan names.</param>
    /// <param name="model">What the model costs.</param>
    /// <param name="workload">When requests come and how long they are; its targets define goodput.</param>
    /// <param name="requestCount">Requests to simulate; at least 1.</param>
    /// <param name="options">Policies; null for the defaults.</param>
    /// <param name="timeline">Collects passes and transfers for a trace viewer; null to save the time.</param>
    /// <param name="progress">Told the number of completed requests now and then.</param>
    /// <param name="cancellationToken">Stops the run.</param>
    /// <exception cref="ArgumentException">The plan does not fit the cluster or the model, or a request fits no replica.</exception>
    /// <exception cref="InvalidOperationException">Failures left requests without any replica for ever.</exception>
    public static ServingReport Run(
        DeploymentPlan plan, Cluster cluster, ModelCost model, Workload workload, int requestCount, SimulationOptions? options = null,
        SimulationTimeline? timeline = null, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(workload);
        SimulationOptions policies = options ?? new SimulationOptions();
        IReadOnlyList<SimulatedRequest> requests = RequestGenerator.Generate(workload, requestCount, policies.Seed);
        return Run(plan, cluster, model, requests, policies, workload.Targets, timeline, progress, cancellationToken);
    }

    /// <summary>Simulates given requests.</summary>
    /// <param name="plan">Replicas, roles and stages.</param>
    /// <param name="cluster">The devices and links that the plan names.</param>
    /// <param name="model">What the model costs.</param>
    /// <param name="requests">In the order of arrival; equal times keep their order.</param>
    /// <param name="options">Policies; null for the defaults.</param>
    /// <param name="targets">What counts as goodput; null: every request does.</param>
    /// <param name="timeline">Collects passes and transfers for a trace viewer; null to save the time.</param>
    /// <param name="progress">Told the number of completed requests now and then.</param>
    /// <param name="cancellationToken">Stops the run.</param>
    /// <exception cref="ArgumentException">The plan does not fit the cluster or the model, requests are out of order, or one fits no replica.</exception>
    /// <exception cref="InvalidOperationException">Failures left requests without any replica for ever.</exception>
    public static ServingReport Run(
        DeploymentPlan plan, Cluster cluster, ModelCost model, IReadOnlyList<SimulatedRequest> requests, SimulationOptions? options = null,
        ServiceTargets? targets = null, SimulationTimeline? timeline = null, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(cluster);
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(requests);
        SimulationOptions policies = options ?? new SimulationOptions();
        policies.Validate();
        int longestPrompt = requests.Count == 0 ? 1 : Math.Max(1, requests.Max(request => request.PromptTokens));
        ReplicaModel[] replicas = ReplicaModels.Build(plan, cluster, model, policies.ChunkTokens, longestPrompt);
        NetworkModel network = NetworkModel.Of(cluster);
        var collector = new ReportCollector(requests.Count, timeline);
        timeline?.Begin(plan, cluster);
        ServingSimulation simulation = Create(plan, replicas, network, cluster, model, policies, longestPrompt, collector);
        simulation.Run(requests, progress, cancellationToken);
        return collector.Report(simulation, new SoloService(replicas, network, KvGeometry.Of(model), policies), policies, targets);
    }

    /// <summary>A run that keeps no results: for measuring the simulator itself.</summary>
    internal static ServingSimulation Prepare(DeploymentPlan plan, Cluster cluster, ModelCost model, SimulationOptions options) => Create(
        plan, ReplicaModels.Build(plan, cluster, model, options.ChunkTokens), NetworkModel.Of(cluster), cluster, model, options, int.MaxValue, NoSink.Instance);

    private static ServingSimulation Create(
        DeploymentPlan plan, ReplicaModel[] replicas, NetworkModel network, Cluster cluster, ModelCost model, SimulationOptions options,
        int longestPrompt, IServingSink sink)
    {
        Replanning? replanning = options.Replan is { } replan
            ? new Replanning(replan, plan, next => ReplicaModels.Build(next, cluster, model, options.ChunkTokens, longestPrompt))
            : null;
        return new ServingSimulation(replicas, new FairShareNetwork(network), KvGeometry.Of(model), options, sink, replanning);
    }
}
