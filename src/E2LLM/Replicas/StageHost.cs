using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.IO.Pipelines;
using E2LLM.Diagnostics;
using E2LLM.Execution;
using E2LLM.Replicas.Connections;
using E2LLM.Replicas.Stages;
using E2LLM.Transfer;
using Microsoft.Extensions.Logging;

namespace E2LLM.Replicas;

/// <summary>
/// One device's part of a replica: serves the streams that the host hands it, computes its layers for whoever drives the replica, passes
/// hidden states to the next stage and keys and values to decode stages. Lives as long as the device serves; does not own the executor, which
/// nobody else may use meanwhile and which must outlive it. Thread-safe.
/// </summary>
public sealed class StageHost : IAsyncDisposable
{
    private readonly StageHostOptions _options;
    private readonly ConcurrentDictionary<PeerConnection, byte> _connections = new();
    private readonly ConcurrentDictionary<Task, byte> _background = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly Meter _meter = new(Telemetry.SourceName);
    private readonly StageExchange _exchange;
    private int _disposed;

    /// <summary>Makes a stage that holds nothing until a plan orders it to (<see cref="StageHostOptions.Load"/>).</summary>
    /// <param name="model">Identity of the model that its layers will come from.</param>
    /// <param name="options">How it talks to others and how it loads.</param>
    /// <exception cref="ArgumentException">An option is outside its range, or the loader is missing.</exception>
    public StageHost(ModelIdentity model, StageHostOptions options)
        : this((IStageExecutor?)null, model, options)
    {
    }

    /// <summary>Makes a stage of an executor.</summary>
    /// <param name="executor">Computes the stage's layers. Not disposed, also where other layers are loaded in its place.</param>
    /// <param name="model">Identity of the model that the executor's weights come from.</param>
    /// <param name="options">How it talks to others.</param>
    /// <exception cref="ArgumentException">An option is outside its range, or the identity has another shape than the executor.</exception>
    public StageHost(LayerRangeExecutor executor, ModelIdentity model, StageHostOptions options)
        : this(new LayerRangeStageExecutor(executor ?? throw new ArgumentNullException(nameof(executor))), model, options)
    {
    }

    internal StageHost(IStageExecutor? executor, ModelIdentity model, StageHostOptions options)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        if (executor is null && options.Load is null)
        {
            throw new ArgumentException("A stage without layers needs a loader.", nameof(options));
        }

        if (executor is not null && (model.Shape.LayerCount != executor.Shape.LayerCount || model.Shape.HiddenSize != executor.Shape.HiddenSize))
        {
            throw new ArgumentException(
                $"The identity is of a model of {model.Shape.LayerCount} layers of {model.Shape.HiddenSize}, the executor of one of {executor.Shape.LayerCount} of {executor.Shape.HiddenSize}.", nameof(model));
        }

        Model = model;
        Stopping = _stop.Token;
        _options = options;
        Logger = RuntimeLog.For<StageHost>(options.LoggerFactory);
        _exchange = new StageExchange(this, Slowed(executor), options.Load, options.KeptKvBlockCount);
        Loop = new StageLoop(options.Name, error =>
        {
            foreach (PeerConnection connection in _connections.Keys)
            {
                connection.Fail(error);
            }
        });
        var tag = new KeyValuePair<string, object?>(Telemetry.DeviceTag, options.Name);
        _meter.CreateObservableGauge(Telemetry.KvBlocksUsed, () => new Measurement<int>(UsedKvBlockCount, tag));
        _meter.CreateObservableGauge(Telemetry.KvBlocksKept, () => new Measurement<int>(_exchange.Executor?.KvPool.KeptBlockCount ?? 0, tag));
        _meter.CreateObservableGauge(Telemetry.StageQueueLength, () => new Measurement<int>(Loop.QueueLength, tag));
    }

    /// <summary>Name of this device.</summary>
    public string Name => _options.Name;

    /// <summary>Identity of the model served.</summary>
    public ModelIdentity Model { get; }

    /// <summary>Drivers connected now.</summary>
    public int SessionCount => Sessions.Count;

    /// <summary>KV blocks held by sequences now.</summary>
    public int UsedKvBlockCount => _exchange.Executor is { KvPool: var pool } ? pool.BlockCount - pool.FreeBlockCount : 0;

    /// <summary>Layers held now; null before the first plan and while others are loaded.</summary>
    public LayerRange? Layers => _exchange.Executor?.Role.Layers;

    /// <summary>What computes.</summary>
    /// <exception cref="InvalidOperationException">The stage holds nothing now.</exception>
    internal IStageExecutor Executor => _exchange.Executor ?? throw new InvalidOperationException("The stage holds no layers now.");

    internal StageExchange Exchange => _exchange;

    internal ILogger Logger { get; }

    internal StageLoop Loop { get; }

    internal KvCodecSet Codecs => _options.Codecs;

    internal KvCodecPolicy CodecPolicy => _options.CodecPolicy;

    internal bool SendsWhilePrefilling => _options.SendsWhilePrefilling;

    internal ConnectionOptions Connections => _options.Connections;

    internal ConcurrentDictionary<ulong, StageSession> Sessions { get; } = new();

    /// <summary>Sequences that wait for keys and values, by session and sequence.</summary>
    internal ConcurrentDictionary<(ulong Session, ulong Sequence), (StageSession Session, StageSequence Sequence)> Imports { get; } = new();

    internal CancellationToken Stopping { get; }

    /// <summary>Serves one stream that another device opened to this one, until it ends. Call it for every stream accepted.</summary>
    /// <param name="stream">Two-way stream, for example an accepted TCP connection or an SslStream over one; disposed at the end.</param>
    /// <param name="cancellationToken">Ends the connection.</param>
    /// <returns>Null where the peer closed the stream in order; otherwise why it ended.</returns>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was set.</exception>
    /// <exception cref="ObjectDisposedException">The host was disposed.</exception>
    public async Task<PeerLostException?> ServeAsync(Stream stream, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        var connection = new PeerConnection(stream, "unknown", _options.Connections);
        _connections.TryAdd(connection, 0);
        var acceptor = new StageAcceptor(this, connection);
        using CancellationTokenRegistration cancelled = cancellationToken.UnsafeRegister(
            static state => ((PeerConnection)state!).Fail(new OperationCanceledException()), connection);
        using CancellationTokenRegistration stopped = Stopping.UnsafeRegister(
            static state => ((PeerConnection)state!).Fail(new ObjectDisposedException(nameof(StageHost))), connection);
        connection.Start(acceptor.OnHello);
        await connection.Completion.ConfigureAwait(false);
        _connections.TryRemove(connection, out _);
        acceptor.OnEnded();
        LogEnd(connection);
        cancellationToken.ThrowIfCancellationRequested();
        return connection.Error is PeerLostException { InnerException: not null } lost ? lost : null;
    }

    /// <summary>Serves one stream given as a pair of pipes; see the other overload.</summary>
    /// <inheritdoc cref="ServeAsync(Stream, CancellationToken)"/>
    public Task<PeerLostException?> ServeAsync(IDuplexPipe pipe, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(pipe);
        return ServeAsync(new DuplexPipeStream(pipe), cancellationToken);
    }

    /// <summary>Ends all connections and gives back the memory of all sequences. The executor stays.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        await _stop.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(_connections.Keys.Select(connection => connection.Completion)).ConfigureAwait(false);
        await Loop.RunAsync(() =>
        {
            foreach (StageSession session in Sessions.Values)
            {
                session.Shutdown();
            }
        }).ConfigureAwait(false);
        await Task.WhenAll(_background.Keys).ConfigureAwait(false);
        Loop.Dispose();
        _exchange.Dispose();
        _meter.Dispose();
        _stop.Dispose();
    }

    /// <summary>The executor at the speed that the options ask for.</summary>
    [return: System.Diagnostics.CodeAnalysis.NotNullIfNotNull(nameof(executor))]
    internal IStageExecutor? Slowed(IStageExecutor? executor) => executor is not null && _options.Slowdown > 1
        ? new SlowedStageExecutor(executor, _options.Slowdown, _options.Connections.TimeProvider, _options.WorkClock) : executor;

    /// <summary>Opens a connection to another stage.</summary>
    internal async Task<DialedPeer> DialAsync(ConnectionPurpose purpose, string peer, ulong session, StageRole role, FrameHandler handler, IReadOnlyList<CodecName> codecs, CancellationToken cancellationToken)
    {
        var hello = new HelloMessage
        {
            Purpose = purpose, From = Name, To = peer, Session = session, Nonce = 0, Role = role, ElementType = Executor.KvPool.Layout.ElementType, Model = Model, Codecs = codecs,
        };
        DialedPeer dialed = await DialedPeer.OpenAsync(_options.Connect, hello, _options.Connections, handler, cancellationToken).ConfigureAwait(false);
        RuntimeLog.PeerConnected(Logger, peer, Name, purpose.ToString());
        return dialed;
    }

    /// <summary>Tells how a connection ended, whoever opened it.</summary>
    internal void LogEnd(PeerConnection connection)
    {
        if (connection.Error is PeerLostException { InnerException: not null } lost)
        {
            RuntimeLog.PeerLost(Logger, lost, connection.Peer, Name, lost.Reason.ToString());
        }
        else
        {
            RuntimeLog.PeerLeft(Logger, connection.Peer, Name);
        }
    }

    /// <summary>What a message about a sequence's prompt says of itself, for the layers that are sent or expected.</summary>
    internal KvTransferHeader MessageHeader(ulong transferId, LayerRange layers, SequenceOpenMessage open, int firstPosition) => new()
    {
        TransferId = transferId,
        ModelHash = Model.Hash,
        TokenPrefixHash = open.TokenHash,
        Layers = layers,
        FirstPosition = firstPosition,
        PositionCount = open.PromptTokenCount - firstPosition,
        KvHeadCount = Executor.KvPool.Layout.KvHeadCount,
        HeadDim = Executor.KvPool.Layout.HeadDim,
        ElementType = Executor.KvPool.Layout.ElementType,
    };

    /// <summary>Remembers work that disposal must wait for.</summary>
    internal void Track(Task task)
    {
        _background.TryAdd(task, 0);
        task.ContinueWith(done => _background.TryRemove(done, out _), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
    }
}
