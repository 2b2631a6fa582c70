using E2LLM.Deployment;
using E2LLM.Replicas.Connections;
using E2LLM.Diagnostics;
using Microsoft.Extensions.Logging;

namespace E2LLM.Replicas.Recovery;

/// <summary>
/// Keeps a dispatcher's replicas what the newest plan says: takes plans up while requests run, and asks the host for a new one after a loss.
/// One change at a time; thread-safe.
/// </summary>
internal sealed class LivePlan(
    Dispatcher dispatcher, ModelIdentity model, PeerConnector connect, ReplicaOptions options, DispatcherOptions dispatching, ILogger logger) : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly SemaphoreSlim _turn = new(1);
    private readonly CancellationTokenSource _stop = new();
    private readonly SortedSet<string> _lost = new(StringComparer.Ordinal);
    private readonly ulong _lineage = DialedPeer.NewNonce();
    private Task _repair = Task.CompletedTask;
    private bool _isRepairing;
    private bool _isUnanswered;
    private Exception? _cause;
    private ulong _epoch;
    private uint _attemptCount;

    public ModelIdentity Model => model;

    /// <summary>Why the last plan could not be had or taken up; else the last loss.</summary>
    public Exception? Cause
    {
        get
        {
            lock (_gate)
            {
                return _cause;
            }
        }
    }

    /// <summary>
    /// Makes the replicas those of <paramref name="plan"/>: the ones that are the same stage for stage go on, with the role that the plan gives them; others end,
    /// and their requests go on elsewhere; new ones are connected, after their devices have loaded what the plan gives them.
    /// </summary>
    /// <remarks>Those that could be connected are in use even where another could not.</remarks>
    public async Task TakeUpAsync(DeploymentPlan plan, CancellationToken cancellationToken)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _stop.Token);
        try
        {
            await _turn.WaitAsync(either.Token).ConfigureAwait(false);
            try
            {
                await ChangeAsync(plan, either.Token).ConfigureAwait(false);
            }
            finally
            {
                _turn.Release();
            }
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new ObjectDisposedException(nameof(Dispatcher));
        }
    }

    /// <summary>Waits until every loss so far was answered by the host, as far as it does, and no plan is being taken up.</summary>
    /// <exception cref="ObjectDisposedException">The dispatcher was disposed.</exception>
    public async Task SettleAsync(IEnumerable<Replica> replicas, CancellationToken cancellationToken)
    {
        foreach (Replica replica in replicas)
        {
            Notice(replica);
        }

        Task repair;
        lock (_gate)
        {
            repair = _repair;
        }

        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _stop.Token);
        try
        {
            await repair.WaitAsync(either.Token).ConfigureAwait(false);
            await _turn.WaitAsync(either.Token).ConfigureAwait(false);
            _turn.Release();
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new ObjectDisposedException(nameof(Dispatcher));
        }
    }

    /// <summary>Watches a replica for its loss.</summary>
    public void Watch(Replica replica) => replica.Lost.ContinueWith(
        _ => Notice(replica), CancellationToken.None, TaskContinuationOptions.RunContinuationsAsynchronously, TaskScheduler.Default);

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        Task repair;
        lock (_gate)
        {
            repair = _repair;
        }

        await repair.ConfigureAwait(false);
        await _turn.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        _turn.Release();
    }

    private static (string Device, LayerRange Layers, bool Embedding, bool Head) Duty(StagePlan stage) => (stage.Device, stage.Layers, stage.Embedding, stage.Head);

    private async Task ChangeAsync(DeploymentPlan plan, CancellationToken cancellationToken)
    {
        long start = dispatching.TimeProvider.GetTimestamp();
        List<ReplicaPlan> fresh = [.. plan.Replicas];
        List<Replica> retired = [];
        foreach (Replica running in dispatcher.Replicas)
        {
            if (fresh.Find(candidate => candidate.Stages.Select(Duty).SequenceEqual(running.Plan.Stages.Select(Duty))) is { } same)
            {
                running.Adopt(same);
                fresh.Remove(same);
            }
            else
            {
                retired.Add(running);
            }
        }

        // First free the devices: they may not have memory for both.
        await Task.WhenAll(retired.Select(replica => replica.RetireAsync())).ConfigureAwait(false);
        ulong epoch = _epoch = Math.Max(_epoch + 1, (ulong)Math.Max(0, options.Connections.TimeProvider.GetUtcNow().ToUnixTimeMilliseconds()));
        uint attempt = _attemptCount;
        _attemptCount += 2;
        Task<Replica>[] connecting = [.. fresh.Select((replica, i) => ConnectAsync(plan, replica, i, attempt, epoch, cancellationToken))];
        await ((Task)Task.WhenAll(connecting)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

        // In the plan's order: of equal replicas the first is taken.
        bool isGone = false;
        foreach (Task<Replica> connected in connecting.Where(task => task.IsCompletedSuccessfully))
        {
            Replica replica = await connected.ConfigureAwait(false);
            if (!dispatcher.TryAdd(replica))
            {
                isGone = true;
                await replica.DisposeAsync().ConfigureAwait(false);
            }
        }

        ObjectDisposedException.ThrowIf(isGone, dispatcher);
        await Task.WhenAll(connecting).ConfigureAwait(false);
        lock (_gate)
        {
            _lost.ExceptWith(plan.Replicas.SelectMany(replica => replica.Stages).Select(stage => stage.Device));
        }

        RuntimeLog.PlanTakenUp(
            logger, dispatching.TimeProvider.GetElapsedTime(start).TotalSeconds, plan.Replicas.Count - fresh.Count, retired.Count, fresh.Count);
    }

    private void Notice(Replica replica)
    {
        if (dispatching.Replan is null || replica.Loss is not PeerLostException { Reason: not PeerLossReason.Replaced } lost)
        {
            return;
        }

        lock (_gate)
        {
            if (!replica.NoticeLoss() || _stop.IsCancellationRequested)
            {
                return;
            }

            _lost.Add(lost.Peer);
            _cause = lost;
            _isUnanswered = true;
            if (!_isRepairing)
            {
                _isRepairing = true;
                _repair = Task.Run(RepairAsync);
            }
        }
    }

    /// <summary>Asks for plans and takes them up until one answers all losses, none is given, or too many failed. Never throws.</summary>
    private async Task RepairAsync()
    {
        int failed = 0;
        while (true)
        {
            DeviceLoss loss;
            lock (_gate)
            {
                if (!_isUnanswered || failed > dispatching.MaxRecoveryCount || _stop.IsCancellationRequested)
                {
                    _isRepairing = false;
                    return;
                }

                _isUnanswered = false;
                loss = new DeviceLoss { Devices = [.. _lost], Running = [.. dispatcher.Replicas.Select(replica => replica.Plan)], FailedPlanCount = failed, Cause = _cause! };
            }

            RuntimeLog.ReplanBegun(logger, string.Join(", ", loss.Devices), loss.Running.Count);
            try
            {
                // On a thread of its own and not waited for after the end: a planner that heeds no token must not hold up the disposal.
                if (await Task.Run(() => dispatching.Replan!(loss, _stop.Token).AsTask(), _stop.Token).WaitAsync(_stop.Token).ConfigureAwait(false) is not { } plan)
                {
                    RuntimeLog.ReplanDeclined(logger);
                }
                else if (!HasUnansweredLoss())
                {
                    // Losses noticed meanwhile would make it a plan that cannot work: then another is asked for at once.
                    await TakeUpAsync(plan, _stop.Token).ConfigureAwait(false);
                    failed = 0;
                }
            }
            catch (PeerLostException lost)
            {
                failed++;
                RuntimeLog.ReplanFailed(logger, lost);
                lock (_gate)
                {
                    _lost.Add(lost.Peer);
                    _cause = lost;
                    _isUnanswered = true;
                }
            }
            catch (Exception error)
            {
                // The host's delegate failed, or its plan makes no sense: requests that cannot go on tell of it.
                RuntimeLog.ReplanFailed(logger, error);
                lock (_gate)
                {
                    _cause = error;
                }
            }
        }
    }

    private bool HasUnansweredLoss()
    {
        lock (_gate)
        {
            return _isUnanswered;
        }
    }

    private async Task<Replica> ConnectAsync(DeploymentPlan whole, ReplicaPlan plan, int index, uint attempt, ulong epoch, CancellationToken cancellationToken)
    {
        // Whoever generates gets keys and values of all that read.
        IEnumerable<string> codecs = plan.Role == ReplicaRole.Prefill ? [] : whole.Replicas.Where(other => other.Role != ReplicaRole.Decode).Select(other => other.KvCodec).OfType<string>();
        try
        {
            return await Replica.ConnectAsync(plan, model, connect, options, SessionNumber.Of(_lineage, attempt, index), codecs, cancellationToken).ConfigureAwait(false);
        }
        catch (HandshakeRejectedException rejected) when (StageOrder.Mends(rejected))
        {
            ulong[] obeyed = await Task.WhenAll(plan.Stages.Select((stage, i) => StageOrder.GiveAsync(stage, i, epoch, model, connect, options, cancellationToken))).ConfigureAwait(false);
            lock (_gate)
            {
                _epoch = Math.Max(_epoch, obeyed.Max());
            }

            return await Replica.ConnectAsync(plan, model, connect, options, SessionNumber.Of(_lineage, attempt + 1, index), codecs, cancellationToken).ConfigureAwait(false);
        }
    }
}
