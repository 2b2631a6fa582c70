using System.Diagnostics.Metrics;
using E2LLM.Deployment;
using E2LLM.Diagnostics;
using E2LLM.Replicas.Connections;
using E2LLM.Replicas.Stages;
using E2LLM.Scheduling;
using E2LLM.Transfer;
using Microsoft.Extensions.Logging;

namespace E2LLM.Replicas;

/// <summary>
/// Drives the stages of one replica, whatever its role: opens sequences on them, sends steps to the first stage, several at once, and gets
/// sampled tokens from the last. Knows every token, so nothing is lost with a stage. Lives until disposed or until a stage is lost, which ends
/// every pending call; connect anew then. Used through a <see cref="Dispatcher"/>. Thread-safe.
/// </summary>
public sealed class Replica : IAsyncDisposable
{
    private readonly ReplicaOptions _options;
    private readonly ILogger _logger;
    private readonly DialedPeer[] _stages;
    private readonly ReplicaDriver _driver;
    private readonly Meter _meter = new(Telemetry.SourceName);
    private int _lossNoticed;
    private int _endLogged;

    private Replica(ReplicaPlan plan, ModelIdentity model, ReplicaOptions options, ulong session)
    {
        Plan = plan;
        Model = model;
        _options = options;
        _logger = RuntimeLog.For<Replica>(options.LoggerFactory);
        Session = session;
        _stages = new DialedPeer[plan.Stages.Count];
        _driver = new ReplicaDriver(plan, options, model.Shape.VocabularySize);
        _meter.CreateObservableGauge(Telemetry.RequestQueueLength, () => new Measurement<int>(Admission.WaitingCount, new KeyValuePair<string, object?>(Telemetry.DeviceTag, plan.Name)));
        ClaimOrder = (plan.Role switch { ReplicaRole.Decode => 0, ReplicaRole.Mixed => 1, _ => 2 }, session);
        PrefillRate = new PrefillRate(plan.PrefillTokensPerSecond, options.Connections.TimeProvider);
    }

    /// <summary>The part of the plan that is driven; a newer plan may give it another role.</summary>
    public ReplicaPlan Plan { get; private set; }

    /// <summary>Model that its stages hold.</summary>
    public ModelIdentity Model { get; }

    /// <summary>Name, as in the plan.</summary>
    public string Name => Plan.Name;

    /// <summary>Ends when the replica can no longer be used; never throws. See <see cref="Loss"/>.</summary>
    public Task Lost => _driver.Lost;

    /// <summary>Why the replica can no longer be used; null while it can.</summary>
    public Exception? Loss => _driver.Error;

    /// <summary>Sequences held now.</summary>
    public int SequenceCount => _driver.SequenceCount;

    internal BlockAdmission Admission => _driver.Admission;

    internal PrefillRate PrefillRate { get; }

    /// <summary>A request that needs room on two replicas claims it in this order: first where it generates, of two that do both as it happens. Never changes, whatever role a newer plan gives.</summary>
    internal (int Role, ulong Session) ClaimOrder { get; }

    internal KeptPrefixes Kept => _driver.Kept;

    internal ulong Session { get; }

    /// <summary>Connects to all stages of a replica and joins them to a chain.</summary>
    /// <param name="plan">Its stages: devices and layers.</param>
    /// <param name="model">Model that they must hold.</param>
    /// <param name="connect">Opens streams to the stages. The stages open those among each other by their own delegates.</param>
    /// <param name="options">How it is driven; null for the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="ArgumentException">The plan's stages do not cover the model's layers in order, or an option is outside its range.</exception>
    /// <exception cref="HandshakeRejectedException">A stage holds something else; the fields that differ are listed.</exception>
    /// <exception cref="PeerLostException">A stage cannot be reached or does not answer.</exception>
    public static Task<Replica> ConnectAsync(
        ReplicaPlan plan, ModelIdentity model, PeerConnector connect, ReplicaOptions? options = null, CancellationToken cancellationToken = default) =>
        ConnectAsync(plan, model, connect, options, DialedPeer.NewNonce(), [], cancellationToken);

    /// <summary>The same under a session number of the caller's, and for the codecs that other replicas of the plan name.</summary>
    internal static async Task<Replica> ConnectAsync(
        ReplicaPlan plan, ModelIdentity model, PeerConnector connect, ReplicaOptions? options, ulong session, IEnumerable<string> codecs, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(connect);
        options ??= new ReplicaOptions();
        options.Validate();
        CheckStages(plan, model);
        var replica = new Replica(plan, model, options, session);
        try
        {
            await replica.OpenAsync(connect, replica.InsistedCodecs(codecs), cancellationToken).ConfigureAwait(false);
            return replica;
        }
        catch
        {
            await replica.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Ends all sequences and connections. The stages give back the memory of this replica's sequences.</summary>
    public async ValueTask DisposeAsync()
    {
        Fail(new ObjectDisposedException(nameof(Replica)));
        _meter.Dispose();
        foreach (DialedPeer stage in _stages)
        {
            if (stage.Connection is not null)
            {
                // One that came up while another failed is not ended yet.
                stage.Connection.Fail(new ObjectDisposedException(nameof(Replica)));
                await stage.Connection.Completion.ConfigureAwait(false);
            }
        }
    }

    /// <summary>Takes the name, role and rates that a newer plan gives to the same stages.</summary>
    internal void Adopt(ReplicaPlan plan) => Plan = plan;

    /// <summary>Ends it because a newer plan has other work for its devices; its requests go on elsewhere.</summary>
    internal async Task RetireAsync()
    {
        Fail(new PeerLostException(Plan.Stages[0].Device, 0, PeerLossReason.Replaced, "a newer plan gave it other work."));
        await DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>Whether this is the first call.</summary>
    internal bool NoticeLoss() => Interlocked.Exchange(ref _lossNoticed, 1) == 0;

    /// <summary>Where another replica is to send keys and values for a sequence of this one.</summary>
    internal IReadOnlyList<KvTarget> TargetsFor(ReplicaSequence sequence) =>
        [.. Plan.Stages.Select((stage, i) => new KvTarget(stage.Device, Session, sequence.Id, RoleOf(stage), sequence.HeldCounts[i]))];

    /// <summary>Whether all stages know to move a part of a prompt's keys and values only (wire format 1.2).</summary>
    internal bool MovesParts => _stages.All(stage => stage.Welcome.Minor >= 2);

    /// <summary>Whether stages of this replica compute layer 0 of what they import; null where measurements decide.</summary>
    internal bool? ComputesFirstLayer => _options.ComputesFirstLayer;

    /// <summary>Decides that.</summary>
    internal FirstLayerChooser FirstLayer { get; } = new();

    /// <summary>
    /// Tells all stages to open a sequence; the caller has admission for it, which passes to the sequence. Closed by <see cref="Close"/>, by the caller, whether it opened or not.
    /// </summary>
    internal ReplicaSequence Open(SequenceStart start, int blocks) => _driver.Open(start, blocks);

    /// <summary>Lets a sequence take part in steps, after <paramref name="token"/> where its prompt came from elsewhere.</summary>
    internal void Start(ReplicaSequence sequence, int? token = null) => _driver.Start(sequence, token);

    /// <summary>Tells that the consumer of a sequence took a token.</summary>
    internal void Consumed(ReplicaSequence sequence) => _driver.Consumed(sequence);

    /// <summary>Forgets a sequence here and on all stages. May be called twice.</summary>
    internal void Close(ReplicaSequence sequence) => _driver.Close(sequence);

    private static void CheckStages(ReplicaPlan plan, ModelIdentity model)
    {
        int layer = 0;
        for (int i = 0; i < plan.Stages.Count; i++)
        {
            StagePlan stage = plan.Stages[i];
            if (stage.Layers.Start != layer || stage.Layers.Count == 0 || stage.Embedding != (i == 0) || stage.Head != (i == plan.Stages.Count - 1))
            {
                throw new ArgumentException($"Stage {i} of replica \"{plan.Name}\" holds layers {stage.Layers}, embedding {stage.Embedding}, head {stage.Head}: it must start at {layer}, the first has the embedding and the last the head.", nameof(plan));
            }

            layer = stage.Layers.End;
        }

        if (layer != model.Shape.LayerCount)
        {
            throw new ArgumentException($"The stages of replica \"{plan.Name}\" hold {layer} layers; the model has {model.Shape.LayerCount}.", nameof(plan));
        }
    }

    private static StageRole RoleOf(StagePlan stage) => new(stage.Layers, stage.Embedding, stage.Head);

    /// <summary>Codecs that all stages must know: the one that they are told to send with, and those that they are sent.</summary>
    private IReadOnlyList<CodecName> InsistedCodecs(IEnumerable<string> received)
    {
        string?[] names = [Plan.KvCodec ?? _options.KvCodec, .. received];
        return CodecName.Of(names.Select(name => name is not null && KvCodecPolicy.TryParse(name, out KvCodecPolicy? policy) ? policy : KvCodecPolicy.Auto));
    }

    private async Task OpenAsync(PeerConnector connect, IReadOnlyList<CodecName> codecs, CancellationToken cancellationToken)
    {
        await Task.WhenAll(Enumerable.Range(0, _stages.Length).Select(i => DialAsync(i, connect, codecs, cancellationToken))).ConfigureAwait(false);
        _driver.Connected(_stages);
        for (int i = 0; i < _stages.Length; i++)
        {
            bool last = i == _stages.Length - 1;
            var header = new HeaderWriter();
            new AttachMessage(i, _stages.Length, last ? "" : Plan.Stages[i + 1].Device, RoleOf(Plan.Stages[last ? i : i + 1]), Plan.KvCodec ?? _options.KvCodec ?? "").Write(header);
            _stages[i].Connection.Send(FrameKind.Attach, header);
        }

        await _driver.Attached.WaitAsync(cancellationToken).ConfigureAwait(false);
        RuntimeLog.ReplicaConnected(_logger, Name, Plan.Role.ToString(), _stages.Length, Admission.BlockCount);
    }

    private async Task DialAsync(int index, PeerConnector connect, IReadOnlyList<CodecName> codecs, CancellationToken cancellationToken)
    {
        StagePlan stage = Plan.Stages[index];
        var hello = new HelloMessage
        {
            Purpose = ConnectionPurpose.Driver, From = _options.Name, To = stage.Device, Session = Session, Nonce = 0,
            Role = RoleOf(stage), ElementType = _options.KvElementType, Model = Model, Codecs = codecs,
        };
        try
        {
            DialedPeer dialed = await DialedPeer.OpenAsync(
                connect, hello, _options.Connections, (in Frame frame) => OnFrame(index, frame), cancellationToken).ConfigureAwait(false);
            _stages[index] = dialed;
            _ = WatchAsync(index, dialed.Connection);
        }
        catch (PeerLostException lost)
        {
            throw lost.At(index);
        }
    }

    private async Task WatchAsync(int index, PeerConnection connection)
    {
        await connection.Completion.ConfigureAwait(false);
        Fail(connection.Error is PeerLostException lost ? lost.At(index) : connection.Error ?? new ObjectDisposedException(nameof(Replica)));
    }

    private void OnFrame(int stage, in Frame frame)
    {
        _driver.OnFrame(stage, frame);
        if (_driver.Error is { } error)
        {
            // A stage said that the replica cannot go on: let go of the others too.
            Fail(error);
        }
    }

    private void LogEnd(Exception error)
    {
        if (error is PeerLostException { Reason: PeerLossReason.Replaced })
        {
            RuntimeLog.ReplicaReplaced(_logger, Name);
        }
        else if (error is not ObjectDisposedException)
        {
            RuntimeLog.ReplicaLost(_logger, error, Name);
        }
    }

    /// <summary>Ends the replica once, for one reason.</summary>
    private void Fail(Exception error)
    {
        _driver.Fail(error);
        if (Interlocked.Exchange(ref _endLogged, 1) == 0)
        {
            LogEnd(_driver.Error!);
        }

        foreach (DialedPeer stage in _stages)
        {
            stage.Connection?.Fail(new ObjectDisposedException(nameof(Replica)));
        }
    }
}
