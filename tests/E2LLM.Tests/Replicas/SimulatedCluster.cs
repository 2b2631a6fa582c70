using System.Collections.Concurrent;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Replicas;

/// <summary>Stage hosts of toy executors on a simulated network. Devices load what plans order, die, and come back empty. Thread-safe.</summary>
internal sealed class SimulatedCluster(ManualTime time, SimulatedNetwork network)
{
    private readonly ConcurrentDictionary<string, StageHost> _hosts = new();
    private readonly ConcurrentBag<Task> _background = [];
    private readonly ConcurrentBag<StageHost> _all = [];

    public ModelIdentity Model { get; } = new(ToyExecutor.ToyShape(8), new byte[32], new byte[32]);

    public ReplicaOptions Options { get; } = new()
    {
        Connections = new ConnectionOptions { TimeProvider = time }, KvElementType = KvElementType.F32, ChunkTokenCount = 16,
    };

    public IReadOnlyList<StageHost> AllHosts => [.. _all];

    /// <summary>Work of the stages' own threads.</summary>
    public int LoopWork() => _all.Sum(host => host.Loop.QueueLength);

    public void Add(string name)
    {
        var host = new StageHost(Model, new StageHostOptions
        {
            Name = name,
            Connections = Options.Connections,
            Connect = (peer, ct) => ConnectAsync(name, peer, ct),
            Load = (layers, _, _, _) =>
            {
                var toy = new ToyExecutor(8, layers, blockCount: 16);
                return ValueTask.FromResult(new LoadedStage(toy, toy));
            },
        });
        _all.Add(host);
        _hosts[name] = host;
    }

    public ValueTask<Stream> ConnectAsync(string peer, CancellationToken cancellationToken) => ConnectAsync("dispatcher", peer, cancellationToken);

    public void Kill(string name)
    {
        network.Kill(name);
        if (_hosts.TryRemove(name, out StageHost? host))
        {
            _background.Add(Task.Run(async () => await host.DisposeAsync()));
        }
    }

    /// <summary>Starts a device again, with nothing of what it had.</summary>
    public void Restart(string name)
    {
        Add(name);
        network.Revive(name);
    }

    public async Task DisposeAsync()
    {
        await Task.WhenAll(_hosts.Values.Select(host => host.DisposeAsync().AsTask()));
        await Task.WhenAll(_background);
    }

    private ValueTask<Stream> ConnectAsync(string from, string peer, CancellationToken cancellationToken) => network.ConnectAsync(
        from, peer,
        stream =>
        {
            if (_hosts.TryGetValue(peer, out StageHost? host))
            {
                _background.Add(ServeAsync(host, stream));
            }
            else
            {
                stream.Dispose();
            }
        }, cancellationToken);

    private static async Task ServeAsync(StageHost host, Stream stream)
    {
        try
        {
            await host.ServeAsync(stream, CancellationToken.None);
        }
        catch (ObjectDisposedException)
        {
            // The device died as the connection came.
            await stream.DisposeAsync();
        }
    }
}
