using System.Diagnostics;
using E2LLM.Deployment;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Samples.EdgeCluster.Stages;
using E2LLM.Simulation;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>Serves requests by the processes of a fleet. A dispatcher for each part: none knows more of the replicas at its beginning than a simulated one, what the plan says.</summary>
internal sealed class Measurement
{
    private const int WarmUpCount = 30, AloneCount = 2;
    private const double WarmUpSeconds = 0.5;

    // Keys and values of all layers, as they are: what simulation reckons with.
    private const string Codec = "raw";
    private const bool ComputesFirstLayer = false;
    private readonly StageFleet _fleet;
    private readonly ModelIdentity _identity;
    private readonly int _seed;

    public Measurement(StageFleet fleet, string modelPath, int seed)
    {
        (_fleet, _seed) = (fleet, seed);
        using GgufFile file = GgufFile.Open(modelPath);
        _identity = ModelIdentityReader.Read(file);
    }

    /// <summary>Requests that nobody looks at: connections are made, and code is compiled.</summary>
    public Task WarmUpAsync(DeploymentPlan plan, CancellationToken ct) =>
        ServeAsync(plan, serving => serving.RunAsync([.. Enumerable.Range(0, WarmUpCount).Select(i => new SimulatedRequest(i * WarmUpSeconds, 64, 12))], ct), ct);

    /// <summary>Each pair of lengths several times, one request after another, on each route.</summary>
    public async Task<AloneRoutes> AloneAsync(DeploymentPlan plan, CancellationToken ct)
    {
        var routes = new List<IReadOnlyList<MeasuredRequest>>();
        foreach (DeploymentPlan route in AloneRoutes.Of(plan))
        {
            routes.Add(await ServeAsync(route, serving => serving.RunAloneAsync(Enumerable.Repeat(FidelityRequests.Lengths, AloneCount).SelectMany(lengths => lengths), ct), ct));
        }

        return new AloneRoutes(routes);
    }

    /// <summary>All requests when they are due, and the processors that all stages used meanwhile.</summary>
    public async Task<(IReadOnlyList<MeasuredRequest> Requests, double Cores)> LoadedAsync(DeploymentPlan plan, IReadOnlyList<SimulatedRequest> requests, CancellationToken ct)
    {
        double before = _fleet.ProcessorSeconds;
        long began = Stopwatch.GetTimestamp();
        IReadOnlyList<MeasuredRequest> loaded = await ServeAsync(plan, serving => serving.RunAsync(requests, ct), ct);
        return (loaded, (_fleet.ProcessorSeconds - before) / Stopwatch.GetElapsedTime(began).TotalSeconds);
    }

    private async Task<IReadOnlyList<MeasuredRequest>> ServeAsync(DeploymentPlan part, Func<LoadedServing, Task<IReadOnlyList<MeasuredRequest>>> serve, CancellationToken ct)
    {
        await using Dispatcher dispatcher = await Dispatcher.ConnectAsync(part, _identity, _fleet.ConnectAsync, _fleet.ReplicaOptions with { KvCodec = Codec, ComputesFirstLayer = ComputesFirstLayer }, cancellationToken: ct);
        return await serve(new LoadedServing(dispatcher, _identity.Shape.VocabularySize, _seed));
    }
}
