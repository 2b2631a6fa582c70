using System.Runtime.CompilerServices;
using E2LLM.Deployment;
using E2LLM.Diagnostics;
using E2LLM.Replicas.Recovery;
using E2LLM.Replicas.Stages;
using E2LLM.Sampling;
using E2LLM.Transfer;
using Microsoft.Extensions.Logging;

namespace E2LLM.Replicas;

/// <summary>
/// Serves requests over connected replicas: each prompt goes to the replica that would have read it soonest, its keys and values move to a
/// replica with room to generate, and tokens stream back. When a device is lost the request goes on elsewhere: prompt and generated tokens are
/// read again there, and since the next token depends on nothing else, the text is the same. Owns the replicas given to it. Thread-safe.
/// </summary>
public sealed partial class Dispatcher : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly List<Replica> _replicas = [];
    private readonly DispatcherOptions _options;
    private readonly LivePlan? _live;
    private readonly ILogger _logger;
    private bool _disposed;

    /// <summary>Makes a dispatcher.</summary>
    /// <param name="replicas">Connected replicas of one model; more may be added later.</param>
    /// <param name="options">How requests are spread; null for the defaults.</param>
    /// <exception cref="ArgumentException">An option is outside its range, or asks for new plans: only <see cref="ConnectAsync"/> can take them up.</exception>
    public Dispatcher(IEnumerable<Replica> replicas, DispatcherOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(replicas);
        _options = options ?? new DispatcherOptions();
        _options.Validate();
        _logger = RuntimeLog.For<Dispatcher>(_options.LoggerFactory);
        if (_options.Replan is not null)
        {
            throw new ArgumentException("A dispatcher that is to take up new plans connects to its replicas itself: use ConnectAsync.", nameof(options));
        }

        _replicas.AddRange(replicas);
    }

    private Dispatcher(ModelIdentity model, PeerConnector connect, ReplicaOptions replicaOptions, DispatcherOptions options)
    {
        _options = options;
        _logger = RuntimeLog.For<Dispatcher>(options.LoggerFactory);
        _live = new LivePlan(this, model, connect, replicaOptions with { LoggerFactory = replicaOptions.LoggerFactory ?? options.LoggerFactory }, options, _logger);
    }

    /// <summary>The replicas that are alive.</summary>
    public IReadOnlyList<Replica> Replicas
    {
        get
        {
            lock (_gate)
            {
                return [.. _replicas.Where(replica => replica.Loss is null)];
            }
        }
    }

    /// <summary>Connects to every replica of a plan. Devices that hold other layers than it gives them load those, where their hosts allow it (<see cref="StageHostOptions.Load"/>).</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="model">Model that all stages must hold.</param>
    /// <param name="connect">Opens streams to stages.</param>
    /// <param name="replicaOptions">How replicas are driven; null for the defaults.</param>
    /// <param name="options">How requests are spread; null for the defaults.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="HandshakeRejectedException">A stage holds something else.</exception>
    /// <exception cref="PeerLostException">A stage cannot be reached.</exception>
    public static async Task<Dispatcher> ConnectAsync(
        DeploymentPlan plan, ModelIdentity model, PeerConnector connect,
        ReplicaOptions? replicaOptions = null, DispatcherOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(connect);
        options ??= new DispatcherOptions();
        options.Validate();
        replicaOptions ??= new ReplicaOptions();
        replicaOptions.Validate();
        var dispatcher = new Dispatcher(model, connect, replicaOptions, options);
        try
        {
            await dispatcher.TakeUpAsync(plan, cancellationToken).ConfigureAwait(false);
            return dispatcher;
        }
        catch
        {
            await dispatcher.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>
    /// Goes over to another plan while requests run: after devices were added, for example. Replicas that both plans have stage for stage stay at work; others
    /// end, their devices load what the new plan gives them, and their requests go on elsewhere, unchanged.
    /// </summary>
    /// <param name="plan">The new plan.</param>
    /// <param name="cancellationToken">Gives up; replicas connected by then are in use.</param>
    /// <exception cref="InvalidOperationException">The dispatcher was made from connected replicas: it does not know how to connect to others.</exception>
    /// <exception cref="HandshakeRejectedException">A stage holds something else. The other replicas are in use.</exception>
    /// <exception cref="PeerLostException">A stage cannot be reached, or cannot load its layers. The other replicas are in use.</exception>
    public Task TakeUpAsync(DeploymentPlan plan, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ObjectDisposedException.ThrowIf(_disposed, this);
        return _live is null
            ? throw new InvalidOperationException("This dispatcher was made from connected replicas; use ConnectAsync for one that takes up plans.")
            : _live.TakeUpAsync(plan, cancellationToken);
    }

    /// <summary>
    /// Waits until every loss so far has been answered, by a plan that is in use or by none where the host gives none, and no plan is being taken up. At once for a
    /// dispatcher made from connected replicas.
    /// </summary>
    /// <param name="cancellationToken">Stops waiting; plans are taken up all the same.</param>
    /// <exception cref="ObjectDisposedException">The dispatcher was disposed.</exception>
    public Task SettleAsync(CancellationToken cancellationToken = default)
    {
        Replica[] replicas;
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            replicas = [.. _replicas];
        }

        return _live?.SettleAsync(replicas, cancellationToken) ?? Task.CompletedTask;
    }

    /// <summary>Takes up another replica, for example one of a new plan after a loss. Owned from now on.</summary>
    /// <exception cref="ObjectDisposedException">The dispatcher was disposed.</exception>
    public void Add(Replica replica)
    {
        ArgumentNullException.ThrowIfNull(replica);
        ObjectDisposedException.ThrowIf(!TryAdd(replica), this);
    }

    /// <summary>Takes up another replica unless the dispatcher was disposed.</summary>
    internal bool TryAdd(Replica replica)
    {
        lock (_gate)
        {
            if (_disposed)
            {
                return false;
            }

            _replicas.RemoveAll(old => old.Loss is not null);
            _replicas.Add(replica);
        }

        _live?.Watch(replica);
        return true;
    }

    /// <summary>Prepares a request; enumerating the result runs it.</summary>
    /// <param name="request">What to generate. Ends early where the model's context is full.</param>
    /// <exception cref="ArgumentException">The request is not valid, or its prompt, an id or a bias does not suit the model.</exception>
    /// <exception cref="ObjectDisposedException">The dispatcher was disposed.</exception>
    public ServedRequest Serve(ServingRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        request.Validate();
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (Model?.Shape is { } shape)
        {
            request.CheckModel(shape);
        }

        return new ServedRequest(this, request, _options.TimeProvider, _logger);
    }

    /// <summary>Disposes the replicas; requests under way end with an exception.</summary>
    public async ValueTask DisposeAsync()
    {
        List<Replica> replicas;
        lock (_gate)
        {
            _disposed = true;
            replicas = [.. _replicas];
            _replicas.Clear();
        }

        if (_live is not null)
        {
            await _live.DisposeAsync().ConfigureAwait(false);
        }

        await Task.WhenAll(replicas.Select(replica => replica.DisposeAsync().AsTask())).ConfigureAwait(false);
    }

    internal async IAsyncEnumerable<TokenChoice> RunAsync(ServedRequest served, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        ServingRequest request = served.Request;
        List<int> known = [.. request.PromptIds];
        int remaining = Math.Min(request.MaxTokenCount, ContextRoom(known.Count));
        Exception? loss = null;
        HashSet<string> suspects = new(StringComparer.Ordinal);
        long lostAt = 0;
        for (int attempt = 0; ; attempt++)
        {
            await WaitForPlanAsync(known.Count + remaining, loss, cancellationToken).ConfigureAwait(false);
            (Replica prefill, Replica? decode, int kept) = Place(served, known, remaining, suspects, loss);
            var run = new RequestRun(served, known, remaining, prefill, decode, kept);
            await using (run.ConfigureAwait(false))
            {
                while (true)
                {
                    TokenChoice token;
                    try
                    {
                        if (await run.NextAsync(cancellationToken).ConfigureAwait(false) is not { } next)
                        {
                            yield break;
                        }

                        token = next;
                    }
                    catch (Exception error) when (CanRecover(error, attempt, cancellationToken))
                    {
                        loss = error;
                        Suspect(suspects, error);
                        break;
                    }

                    if (lostAt != 0)
                    {
                        RuntimeLog.RecoveryFinished(_logger, served.Id, _options.TimeProvider.GetElapsedTime(lostAt).TotalSeconds);
                        lostAt = 0;
                    }

                    known.Add(token.Id);
                    remaining--;
                    yield return token;
                }
            }

            lostAt = _options.TimeProvider.GetTimestamp();
            LogRecovery(served.Id, loss!, known.Count, attempt + 1);
            Telemetry.RecoveryCounter.Add(1);
            served.Update(static report => report with { RecoveryCount = report.RecoveryCount + 1 });
        }
    }

    /// <summary>The model that the replicas hold; null where there never was one.</summary>
    internal ModelIdentity? Model => _live?.Model ?? (Replicas is [Replica any, ..] ? any.Model : null);

    /// <summary>Tokens that the model's context has room for behind a prompt.</summary>
    private int ContextRoom(int promptCount)
    {
        int context = Model?.Shape.ContextLength ?? int.MaxValue;
        return promptCount < context
            ? context - promptCount
            : throw new ArgumentOutOfRangeException(nameof(promptCount), promptCount, $"A prompt of {promptCount} tokens leaves no room in the model's context of {context}.");
    }
}
