using E2LLM.Diagnostics;
using E2LLM.Replicas.Connections;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// What a stage holds, and how that is exchanged for other layers when a plan orders it: sessions end, the old layers are freed, the new ones
/// are loaded. One exchange at a time; thread-safe.
/// </summary>
internal sealed class StageExchange(StageHost host, IStageExecutor? executor, StageLoader? load, int? keptBlockCount) : IDisposable
{
    private readonly SemaphoreSlim _turn = new(1);
    private volatile IStageExecutor? _executor = Keep(executor, keptBlockCount);
    private LoadedStage? _owned;
    private ulong _epoch;

    /// <summary>What is held now; null before the first order and while layers are loaded.</summary>
    public IStageExecutor? Executor => _executor;

    /// <summary>Whether orders for other layers can be followed.</summary>
    public bool CanLoad => load is not null;

    /// <summary>Epoch of the newest plan that gave an order. An order of an older one comes from a dispatcher that was left behind.</summary>
    public ulong Epoch => Volatile.Read(ref _epoch);

    /// <summary>Follows the order of a hello, and says on its connection how that went.</summary>
    public async Task AnswerAsync(PeerConnection connection, HelloMessage order)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(connection.Ended, host.Stopping);
        string? problem = await LoadAsync(order.Role, order.Session, either.Token).ConfigureAwait(false);
        var header = new HeaderWriter();
        if (problem is null)
        {
            new SequenceMessage(order.Session, 0).Write(header);
            connection.Send(FrameKind.Loaded, header);
        }
        else
        {
            new FaultMessage(FaultCode.StageFailed, 0, host.Name, problem).Write(header);
            connection.Send(FrameKind.Fault, header);
        }

        connection.CloseAfterSending();
    }

    /// <summary>Follows an order. Does nothing where the layers are held already.</summary>
    /// <returns>Why the layers are not held; null where they are.</returns>
    private async Task<string?> LoadAsync(StageRole role, ulong epoch, CancellationToken cancellationToken)
    {
        try
        {
            await _turn.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return "the order was withdrawn.";
        }

        try
        {
            if (epoch < _epoch)
            {
                return $"a plan of epoch {_epoch} holds this stage; the order is of epoch {epoch}.";
            }

            Volatile.Write(ref _epoch, epoch);
            if (_executor?.Role == role)
            {
                return null;
            }

            string layers = role.Layers.ToString();
            RuntimeLog.LayersLoading(host.Logger, host.Name, layers);
            TimeProvider clock = host.Connections.TimeProvider;
            long start = clock.GetTimestamp();
            await EmptyAsync(role).ConfigureAwait(false);
            LoadedStage loaded = await load!(role.Layers, role.HasEmbedding, role.HasHead, cancellationToken).ConfigureAwait(false);
            if (loaded.Executor.Role != role || loaded.Executor.Shape.LayerCount != host.Model.Shape.LayerCount || loaded.Executor.Shape.HiddenSize != host.Model.Shape.HiddenSize)
            {
                string found = $"the loader gave layers {loaded.Executor.Role.Layers} of {loaded.Executor.Shape.LayerCount}; asked for were {role.Layers} of {host.Model.Shape.LayerCount}.";
                loaded.Dispose();
                RuntimeLog.LayersNotLoaded(host.Logger, null, host.Name, layers, found);
                return found;
            }

            Keep(loaded.Executor, keptBlockCount);
            _owned = loaded;
            _executor = host.Slowed(loaded.Executor);
            RuntimeLog.LayersLoaded(host.Logger, host.Name, layers, clock.GetElapsedTime(start).TotalSeconds);
            return null;
        }
        catch (Exception error)
        {
            // Whatever the host's loader throws: the driver is told, and the stage holds nothing.
            RuntimeLog.LayersNotLoaded(host.Logger, error, host.Name, role.Layers.ToString(), error.Message);
            return $"loading layers {role.Layers} failed: {error.Message}";
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Frees what the stage itself has loaded. Called when nothing runs any more.</summary>
    public void Dispose()
    {
        _executor = null;
        _owned?.Dispose();
        _owned = null;
        _turn.Dispose();
    }

    /// <summary>Tells the pool how many blocks may keep what ended sequences left.</summary>
    private static IStageExecutor? Keep(IStageExecutor? executor, int? blockCount)
    {
        if (executor is not null)
        {
            executor.KvPool.MaxKeptBlockCount = blockCount ?? executor.KvPool.BlockCount;
        }

        return executor;
    }

    private async Task EmptyAsync(StageRole role)
    {
        // From here on new sessions are refused; what one that slipped in posts to the loop is refused there.
        _executor = null;
        await host.Loop.RunAsync(() =>
        {
            foreach (StageSession session in host.Sessions.Values)
            {
                session.Evict($"a newer plan gave this device layers {role.Layers}.");
            }
        }).ConfigureAwait(false);
        _owned?.Dispose();
        _owned = null;
    }
}
