using E2LLM.Execution;
using E2LLM.Replicas;
using E2LLM.Weights;

namespace E2LLM.Samples.Snippets;

/// <summary>One device of a replica: it loads its layers alone and serves every stream that its host accepts.</summary>
internal static class StageDevice
{
    public static async Task RunAsync(string modelPath, string name, LayerRange layers, PeerConnector connect, CancellationToken ct)
    {
        using ModelWeights weights = ModelWeights.Load(modelPath, layers, out ModelIdentity identity, cancellationToken: ct);
        using var executor = new LayerRangeExecutor(weights);
        await using var host = new StageHost(executor, identity, new StageHostOptions { Name = name, Connect = connect });
        await foreach (Stream accepted in NamedPipes.AcceptAsync(name, ct))
        {
            _ = host.ServeAsync(accepted, ct);
        }
    }
}
