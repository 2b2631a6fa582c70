using Microsoft.Extensions.Hosting;

namespace E2LLM.Extensions.AI.Hosting;

/// <summary>Lets the host wait for a model before it takes requests.</summary>
internal sealed class ModelStartup(Func<ModelLoader> loader) : IHostedService
{
    public Task StartAsync(CancellationToken cancellationToken)
    {
        // Options that cannot work show here at the latest.
        ModelLoader model = loader();
        return model.Options.LoadAtStart ? model.GetAsync(cancellationToken) : Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
