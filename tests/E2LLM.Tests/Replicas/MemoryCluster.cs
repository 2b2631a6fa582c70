using System.Collections.Concurrent;
using System.IO.Pipelines;
using E2LLM.Deployment;
using E2LLM.KvCaching;
using E2LLM.Replicas;
using E2LLM.Replicas.Connections;
using E2LLM.Replicas.Stages;
using E2LLM.Sampling;
using E2LLM.Tests.Support;
using E2LLM.Transfer;

namespace E2LLM.Tests.Replicas;

/// <summary>Stage hosts joined by streams in memory, and a way to kill one as if its process had died.</summary>
internal sealed class MemoryCluster : IAsyncDisposable
{
    private readonly ConcurrentDictionary<string, Device> _devices = new();
    private readonly List<IDisposable> _owned = [];
    private readonly List<StageHost> _gone = [];

    public ModelIdentity Model { get; init; } = new(ToyExecutor.ToyShape(8), new byte[32], new byte[32]);

    public ConnectionOptions Connections { get; init; } = new() { PeerTimeout = TimeSpan.FromSeconds(20) };

    public ReplicaOptions Options => new() { Connections = Connections, KvElementType = KvElementType.F32, ChunkTokenCount = ChunkTokenCount, MaxSequenceCount = MaxSequenceCount, ComputesFirstLayer = ComputesFirstLayer };

    public int ChunkTokenCount { get; init; } = 16;

    public int? MaxSequenceCount { get; init; }

    public bool? ComputesFirstLayer { get; init; } = false;

    public Func<StageHostOptions, StageHostOptions> HostOptions { get; init; } = options => options;

    /// <summary>Bytes that every stream lets wait before a writer must wait.</summary>
    public int PauseBytes { get; init; } = 1 << 16;

    /// <summary>What streams to a device pass through; tests put faults there.</summary>
    public Func<string, Stream, Stream> Wrap { get; set; } = (_, stream) => stream;

    /// <summary>The same with the name of the device that opened the stream.</summary>
    public Func<string, string, Stream, Stream> WrapBetween { get; init; } = (_, _, stream) => stream;

    /// <summary>Makes both ends of a connection secure; the second argument says whether it is the accepting one.</summary>
    public Func<Stream, bool, Task<Stream>>? Secure { get; init; }

    public IEnumerable<StageHost> Hosts => _devices.Values.Select(device => device.Host);

    public StageHost this[string device] => _devices[device].Host;

    public IEnumerable<ToyExecutor> Toys => _devices.Values.Select(device => device.Executor).OfType<ToyExecutor>();

    public ToyExecutor Toy(string device) => (ToyExecutor)(_devices[device].Executor ?? _devices[device].Loaded[^1]);

    /// <summary>Adds the devices of a replica, cut after the given layers, and returns its plan.</summary>
    public ReplicaPlan Add(string name, ReplicaRole role, params int[] cuts) => Add(name, role, cuts, range => new ToyExecutor(Model.Shape.LayerCount, range));

    public ReplicaPlan Add(string name, ReplicaRole role, int[] cuts, Func<LayerRange, IStageExecutor> executor)
    {
        int[] edges = [0, .. cuts, Model.Shape.LayerCount];
        var stages = new List<StagePlan>();
        for (int i = 0; i + 1 < edges.Length; i++)
        {
            var range = new LayerRange(edges[i], edges[i + 1]);
            stages.Add(new StagePlan { Device = $"{name}{i}", Layers = range, Embedding = i == 0, Head = i + 2 == edges.Length });
            AddDevice($"{name}{i}", executor(range));
        }

        return new ReplicaPlan { Name = name, Role = role, Stages = stages };
    }

    public void AddDevice(string name, IStageExecutor executor)
    {
        var options = new StageHostOptions { Name = name, Connect = (peer, ct) => ConnectAsync(name, peer, ct), Connections = Connections, CodecPolicy = KvCodecPolicy.Raw };
        _devices[name] = new Device(new StageHost(executor, Model, HostOptions(options)), executor);
        if (executor is IDisposable disposable)
        {
            _owned.Add(disposable);
        }
    }

    /// <summary>Adds a device that holds nothing until a plan orders it to; an older device of that name is forgotten.</summary>
    public void AddIdle(string name, Func<LayerRange, LoadedStage>? load = null)
    {
        var options = new StageHostOptions
        {
            Name = name, Connections = Connections, Connect = (peer, ct) => ConnectAsync(name, peer, ct), Load = (layers, _, _, _) =>
            {
                LoadedStage loaded = (load ?? LoadToy)(layers);
                _devices[name].Loaded.Add(loaded.Executor);
                return ValueTask.FromResult(loaded);
            },
        };
        _devices.Remove(name, out Device? older);
        if (older is not null)
        {
            _gone.Add(older.Host);
        }

        _devices[name] = new Device(new StageHost(Model, HostOptions(options)), null);
    }

    /// <summary>Everything that a device has loaded, in order.</summary>
    public IReadOnlyList<IStageExecutor> LoadedBy(string device) => [.. _devices[device].Loaded];

    public void Own(IDisposable owned) => _owned.Insert(0, owned);

    public ValueTask<Stream> ConnectAsync(string peer, CancellationToken cancellationToken) => ConnectAsync("dispatcher", peer, cancellationToken);

    /// <summary>Ends a device at once: all its streams break, new ones are refused.</summary>
    public void Kill(string name)
    {
        Device device = _devices[name];
        device.IsDead = true;
        foreach (FaultyStream stream in device.Streams)
        {
            stream.Break();
        }
    }

    /// <summary>Lets a killed device be reached again, with everything that it held.</summary>
    public void Revive(string name) => _devices[name].IsDead = false;

    /// <summary>A stream to a host that is no device of this cluster.</summary>
    public static Stream Join(StageHost host)
    {
        Pipe there = new(), back = new();
        _ = host.ServeAsync(new PipeEnds(there.Reader, back.Writer), CancellationToken.None);
        return new DuplexPipeStream(new PipeEnds(back.Reader, there.Writer));
    }

    public Task<Dispatcher> DispatchAsync(params ReplicaPlan[] replicas) => DispatchAsync(new DispatcherOptions(), replicas);

    public Task<Dispatcher> DispatchAsync(DispatcherOptions options, params ReplicaPlan[] replicas) => Dispatcher.ConnectAsync(
        new DeploymentPlan { Planner = "test", ModelName = "test", Objective = new PlanObjective { Kind = "capacity" }, Replicas = replicas },
        Model, ConnectAsync, Options, options);

    /// <summary>What one process with one executor of all layers generates.</summary>
    public static List<int> Reference(IStageExecutor executor, ServingRequest request)
    {
        using KvCache cache = executor.KvPool.CreateSequence();
        ModelShape shape = executor.Shape;
        int[] next = [.. request.PromptIds];
        var generated = new List<int>();
        List<int> known = [.. request.PromptIds];
        float[] logits = new float[shape.VocabularySize];
        while (generated.Count < request.MaxTokenCount)
        {
            float[] hidden = new float[next.Length * shape.HiddenSize];
            executor.Embed(next, hidden);
            executor.Forward([new StageSlice(cache, next.Length)], hidden, default);
            executor.ComputeLogits(hidden.AsSpan(hidden.Length - shape.HiddenSize), logits);
            int token = Sampler.Sample(logits, request.Sampling, cache.Length, known.ToArray());
            known.Add(token);
            generated.Add(token);
            if (request.EndsAt?.Invoke(token) == true)
            {
                break;
            }

            next = [token];
        }

        return generated;
    }

    /// <summary>What one process chooses behind some tokens.</summary>
    public static TokenChoice Choose(IStageExecutor executor, SamplingOptions sampling, List<int> known)
    {
        using KvCache cache = executor.KvPool.CreateSequence();
        float[] hidden = new float[known.Count * executor.Shape.HiddenSize], logits = new float[executor.Shape.VocabularySize];
        executor.Embed(known.ToArray(), hidden);
        executor.Forward([new StageSlice(cache, known.Count)], hidden, default);
        executor.ComputeLogits(hidden.AsSpan(hidden.Length - executor.Shape.HiddenSize), logits);
        return Sampler.Choose(logits, sampling, known.Count, known.ToArray());
    }

    /// <summary>Waits until no host of a living device holds a block or a session.</summary>
    public async Task AssertEmptyAsync()
    {
        for (int i = 0; i < 500 && !IsEmpty(); i++)
        {
            await Task.Delay(10);
        }

        Assert.All(Hosts, host => Assert.Equal((0, 0), (host.UsedKvBlockCount, host.SessionCount)));

        bool IsEmpty() => Hosts.All(host => host.UsedKvBlockCount == 0 && host.SessionCount == 0);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (StageHost host in _gone.Concat(Hosts))
        {
            // A test that failed may have left a stage's thread at work; the run goes on without it.
            await Task.Run(async () => await host.DisposeAsync()).WaitAsync(TimeSpan.FromMinutes(2));
        }

        _owned.ForEach(owned => owned.Dispose());
    }

    private async ValueTask<Stream> ConnectAsync(string from, string peer, CancellationToken cancellationToken)
    {
        if (!_devices.TryGetValue(peer, out Device? device) || device.IsDead || (_devices.TryGetValue(from, out Device? source) && source.IsDead))
        {
            throw new IOException($"Connection to {peer} refused.");
        }

        var options = new PipeOptions(pauseWriterThreshold: PauseBytes, resumeWriterThreshold: PauseBytes / 2, useSynchronizationContext: false);
        Pipe there = new(options), back = new(options);
        var near = new FaultyStream(new DuplexPipeStream(new PipeEnds(back.Reader, there.Writer)));
        var far = new FaultyStream(new DuplexPipeStream(new PipeEnds(there.Reader, back.Writer)));
        device.Streams.Add(far);
        if (_devices.TryGetValue(from, out source))
        {
            source.Streams.Add(near);
        }

        if (Secure is { } secure)
        {
            _ = Task.Run(async () => await device.Host.ServeAsync(await secure(far, true), CancellationToken.None), CancellationToken.None);
            return await secure(near, false);
        }

        _ = device.Host.ServeAsync(far, CancellationToken.None);
        return WrapBetween(from, peer, Wrap(peer, near));
    }

    private LoadedStage LoadToy(LayerRange layers)
    {
        var toy = new ToyExecutor(Model.Shape.LayerCount, layers);
        return new LoadedStage(toy, toy);
    }

    private sealed class Device(StageHost host, IStageExecutor? executor)
    {
        public StageHost Host => host;

        public IStageExecutor? Executor => executor;

        public List<IStageExecutor> Loaded { get; } = [];

        public ConcurrentBag<FaultyStream> Streams { get; } = [];

        public bool IsDead { get; set; }
    }
}
