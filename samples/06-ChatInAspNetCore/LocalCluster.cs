using E2LLM.Deployment;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Samples.Snippets;
using E2LLM.Weights;

namespace E2LLM.Samples.ChatInAspNetCore;

/// <summary>
/// A deployment whose devices are tasks of this process, joined by named pipes: one replica reads prompts, another generates, two stages each. In earnest the
/// plan comes from <c>e2llm plan</c>, the stages run elsewhere (sample 07-StageWorker), and only the dispatcher stays here.
/// </summary>
internal sealed class LocalCluster(string modelPath) : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly List<Device> _devices = [];

    /// <summary>The plan that runs; null before the start.</summary>
    public DeploymentPlan? Plan { get; private set; }

    /// <summary>KV blocks of a device: held by sequences, and all. Null for a device that is not here.</summary>
    public (int Used, int All)? KvBlocks(string device) =>
        _devices.Find(found => found.Host.Name == device) is { } here ? (here.Host.UsedKvBlockCount, here.Executor.KvPool.BlockCount) : null;

    public async Task<Dispatcher> StartAsync(ModelIdentity model, ILoggerFactory loggers, CancellationToken ct)
    {
        DeploymentPlan plan = TwoByTwo(model.Shape);
        foreach (StagePlan stage in plan.Replicas.SelectMany(replica => replica.Stages))
        {
            _devices.Add(Device.Load(modelPath, stage, model, _stop.Token, ct));
        }

        Plan = plan;
        return await Dispatcher.ConnectAsync(plan, model, NamedPipes.ConnectAsync, options: new DispatcherOptions { LoggerFactory = loggers }, cancellationToken: ct);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        foreach (Device device in _devices)
        {
            await device.DisposeAsync();
        }

        _stop.Dispose();
    }

    private static DeploymentPlan TwoByTwo(ModelShape shape)
    {
        int middle = shape.LayerCount / 2;
        return new DeploymentPlan
        {
            ModelName = shape.Name,
            Replicas = [Replica("prompts", ReplicaRole.Prefill, "desktop", "laptop"), Replica("answers", ReplicaRole.Decode, "mini-pc", "board")],
        };

        ReplicaPlan Replica(string name, ReplicaRole role, string first, string last) => new()
        {
            Name = name,
            Role = role,
            Stages =
            [
                new StagePlan { Device = first, Layers = new LayerRange(0, middle), Embedding = true },
                new StagePlan { Device = last, Layers = new LayerRange(middle, shape.LayerCount), Head = true },
            ],
        };
    }

    /// <summary>One device: its layers, and the loop that accepts streams.</summary>
    private sealed record Device(ModelWeights Weights, LayerRangeExecutor Executor, StageHost Host, Task Accepting) : IAsyncDisposable
    {
        public static Device Load(string modelPath, StagePlan stage, ModelIdentity model, CancellationToken stopping, CancellationToken ct)
        {
            using GgufFile file = GgufFile.Open(modelPath);
            ModelWeights weights = ModelWeights.Load(file, model.Shape, stage.Layers, stage.Embedding, stage.Head, cancellationToken: ct);
            var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 1 });
            var host = new StageHost(executor, model, new StageHostOptions { Name = stage.Device, Connect = NamedPipes.ConnectAsync });
            return new Device(weights, executor, host, AcceptAsync(host, stopping));
        }

        public async ValueTask DisposeAsync()
        {
            await ((Task)Accepting).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await Host.DisposeAsync();
            Executor.Dispose();
            Weights.Dispose();
        }

        private static async Task AcceptAsync(StageHost host, CancellationToken stopping)
        {
            await foreach (Stream accepted in NamedPipes.AcceptAsync(host.Name, stopping))
            {
                _ = host.ServeAsync(accepted, stopping);
            }
        }
    }
}
