using E2LLM.Extensions.AI.Models;
using E2LLM.Replicas;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace E2LLM.Extensions.AI.Hosting;

/// <summary>Healthy when the model can answer; degraded while it is being loaded or replicas are lost; failed when it could not be loaded or no replica is left.</summary>
internal sealed class ModelHealthCheck(ModelLoader loader) : IHealthCheck
{
    public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        Task<IServedModel>? loading = loader.Loading;
        if (loading is not { IsCompleted: true })
        {
            return HealthCheckResult.Degraded(loading is null ? "The model is loaded with its first use." : $"The model is being loaded: {loader.LoadedFraction:P0}.");
        }

        if (!loading.IsCompletedSuccessfully)
        {
            return new HealthCheckResult(context.Registration.FailureStatus, "The model could not be loaded.", loading.Exception?.InnerException);
        }

        IServedModel model = await loading.ConfigureAwait(false);
        var data = new Dictionary<string, object>(StringComparer.Ordinal) { ["model"] = model.Name };
        if (model.Service is not Dispatcher dispatcher)
        {
            return HealthCheckResult.Healthy("The model is loaded.", data);
        }

        IReadOnlyList<Replica> alive = dispatcher.Replicas;
        data["replicas"] = alive.Count;
        data["sequences"] = alive.Sum(replica => replica.SequenceCount);
        string text = $"{alive.Count} of {Math.Max(alive.Count, loader.ConnectedReplicaCount)} replicas are connected.";
        return alive.Count == 0 ? new HealthCheckResult(context.Registration.FailureStatus, text, data: data)
            : alive.Count < loader.ConnectedReplicaCount ? HealthCheckResult.Degraded(text, data: data)
            : HealthCheckResult.Healthy(text, data);
    }
}
