using System.Buffers;
using E2LLM.Diagnostics;
using E2LLM.KvCaching;
using E2LLM.Replicas.Connections;
using E2LLM.Sampling;
using E2LLM.Transfer;
using Microsoft.Extensions.Logging;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// What one driver holds at one stage: its sequences and the stage's place in the driver's chain. Lives as long as the driver's connection.
/// Everything but <see cref="Report"/> runs on the stage loop.
/// </summary>
internal sealed class StageSession(StageHost host, ulong id, PeerConnection driver)
{
    private readonly Dictionary<ulong, StageSequence> _sequences = [];
    private readonly IStageExecutor _executor = host.Executor;
    private readonly StepRunner _runner = new(host.Executor);
    private readonly KvLinks _links = new();
    private PeerConnection? _next;
    private bool _attached;
    private bool _closed;

    public StageHost Host => host;

    public ulong Id => id;

    public PeerConnection Driver => driver;

    /// <summary>How keys and values leave: what the driver asked for when it attached the stage, else the host's own.</summary>
    public KvCodecPolicy CodecPolicy { get; private set; } = host.CodecPolicy;

    /// <summary>Sequences held.</summary>
    public int SequenceCount => _sequences.Count;

    /// <summary>Tells the driver of a fault. From any thread.</summary>
    public void Report(in FaultMessage fault)
    {
        // A chain that ends because its driver left is none.
        RuntimeLog.Faulted(host.Logger, driver.Error is null ? LogLevel.Warning : LogLevel.Debug, host.Name, fault.Code.ToString(), fault.Sequence, fault.Text);
        var header = new HeaderWriter();
        fault.Write(header);
        driver.Send(FrameKind.Fault, header);
    }

    /// <summary>Takes the driver's choice of a codec; an empty name leaves the host's.</summary>
    public void UseCodec(string name)
    {
        if (name.Length == 0 || name == CodecPolicy.ToString())
        {
            return;
        }

        if (KvCodecPolicy.TryParse(name, out KvCodecPolicy? policy))
        {
            CodecPolicy = policy;
        }
        else
        {
            Break($"Codec \"{name}\" is unknown here. Known: {string.Join(", ", KvCodecPolicy.Names)}.");
        }
    }

    /// <summary>The chain is up: steps may come.</summary>
    public void Attached(PeerConnection? next)
    {
        if (_closed)
        {
            next?.Fail(new ObjectDisposedException(nameof(StageSession)));
            return;
        }

        _next = next;
        _attached = true;
        Tell(FrameKind.Attached, 0, 0);
    }

    public void Open(SequenceOpenMessage open)
    {
        if (_closed || !CheckChain())
        {
            return;
        }

        if ((_sequences.ContainsKey(open.Sequence) ? $"Sequence {open.Sequence} is open already." : FirstLayer.Problem(open, _executor.Role)) is { } problem)
        {
            Break(problem);
            return;
        }

        // Only the first stage has use for the prompt's ids.
        _next?.SendHere((open with { PromptIds = [] }).ToFrame());
        KvCache cache = _executor.KvPool.CreateSequence();
        try
        {
            cache.AdoptPrefix(id, [.. open.PagesToAdopt]);
            cache.Reserve(open.CapacityTokenCount);
            KvImport? import = open.Imports ? new KvImport(cache, host.MessageHeader(open.Sequence, open.Moved(_executor.Role.Layers), open, cache.Length), host.Codecs) : null;
            var sequence = new StageSequence(open, cache, import) { IsReady = import is null, AwaitsFirstLayer = FirstLayer.IsComputed(open, _executor.Role), OpenedAt = host.Connections.TimeProvider.GetTimestamp(), Activity = Telemetry.StartStage(open.TraceParent, host.Name, open.Imports, open.KnownTokenCount) };
            _sequences.Add(open.Sequence, sequence);
            if (import is not null)
            {
                host.Imports[(id, open.Sequence)] = (this, sequence);
            }

            Tell(FrameKind.SequenceOpened, open.Sequence, (ulong)cache.Length);
            FirstLayer.Compute(this, _executor, sequence, cache.Length);
        }
        catch (Exception full) when (full is KvCacheFullException or OutOfMemoryException)
        {
            // Where the pool has room and the machine has not, this sequence alone must do without, too.
            cache.Dispose();
            Report(new FaultMessage(FaultCode.PoolFull, open.Sequence, host.Name, full.Message));
        }
    }

    /// <summary>Forgets a sequence; unknown ones too, since the driver may give up one that this stage never had room for.</summary>
    public void Close(SequenceCloseMessage close)
    {
        if (_closed)
        {
            return;
        }

        _next?.SendHere(close.ToFrame());
        if (_sequences.Remove(close.Sequence, out StageSequence? found))
        {
            host.Imports.TryRemove((id, close.Sequence), out _);
            found.KeepPages(id, close.Pages);
            _links.GiveUp(found);
            found.Dispose();
        }

        Tell(FrameKind.SequenceClose, close.Sequence, 0);
    }

    /// <summary>Runs one step. <paramref name="payload"/> (rented) holds token ids for a stage with the embedding, hidden states for the others.</summary>
    public void Step(StepMessage step, byte[] payload, CancellationToken cancellationToken)
    {
        TimeProvider clock = host.Connections.TimeProvider;
        long start = clock.GetTimestamp();
        try
        {
            if (_closed || !CheckChain())
            {
                return;
            }

            var sequences = new StageSequence[step.Items.Count];
            for (int i = 0; i < sequences.Length; i++)
            {
                StepItem item = step.Items[i];
                if (!_sequences.TryGetValue(item.Sequence, out StageSequence? sequence) || !sequence.IsReady || !sequence.TryBegin(item.FirstPosition)
                    || item.FirstPosition + item.TokenCount > sequence.Open.CapacityTokenCount || Array.IndexOf(sequences, sequence, 0, i) >= 0)
                {
                    Break($"Step {step.Step} does not fit sequence {item.Sequence}: it starts at {item.FirstPosition} with {item.TokenCount} tokens; held: {(sequence is null ? "nothing" : $"{sequence.Cache.Length} of {sequence.Open.CapacityTokenCount}, ready: {sequence.IsReady}")}.");
                    return;
                }

                sequences[i] = sequence;
            }

            _executor.LayerDone = Array.Exists(sequences, sequence => sequence.Open.Targets.Count > 0) ? layer => _links.Export(this, step, sequences, layer) : null;
            ReadOnlySpan<float> hidden = _runner.Run(step, sequences, payload, cancellationToken);
            Array.ForEach(sequences, sequence => sequence.KeepPages(id, sequence.Open.Pages));
            if (_next is null)
            {
                Sample(step, sequences);
                return;
            }

            _next.Queue(step.ToFrame(hidden));
        }
        catch (Exception error)
        {
            Break(error.Message);
        }
        finally
        {
            Telemetry.StageHistogram.Record(clock.GetElapsedTime(start).TotalSeconds, new(Telemetry.DeviceTag, host.Name), new(Telemetry.TokensTag, Telemetry.TokensBucket(step.TokenCount)));
            (_next ?? driver).SendHere();
            ArrayPool<byte>.Shared.Return(payload);
        }
    }

    /// <summary>All keys and values of an import came: makes them visible and tells the driver.</summary>
    public void Imported(StageSequence sequence)
    {
        if (!Holds(sequence) || sequence.IsReady || sequence.AwaitsFirstLayer)
        {
            return;
        }

        int applied = sequence.Import!.Commit();
        sequence.KeepPages(id, sequence.Open.Pages);
        sequence.IsReady = true;
        Telemetry.KvDurationHistogram.Record(host.Connections.TimeProvider.GetElapsedTime(sequence.OpenedAt).TotalSeconds, new KeyValuePair<string, object?>(Telemetry.DeviceTag, host.Name));
        host.Imports.TryRemove((id, sequence.Id), out _);
        Tell(FrameKind.KvApplied, sequence.Id, (ulong)applied, sequence.FirstLayerSeconds * 1e9);
    }

    /// <summary>A decode stage confirmed that it has all keys and values of its layers.</summary>
    /// <param name="sequence">Whose.</param>
    /// <param name="codedBytes">Bytes that went there.</param>
    /// <param name="bytesPerSecond">What the link takes; infinite while unknown.</param>
    public void TargetConfirmed(StageSequence sequence, long codedBytes, double bytesPerSecond = double.PositiveInfinity)
    {
        sequence.SentBytes += codedBytes;
        sequence.LinkBytesPerSecond = Math.Min(sequence.LinkBytesPerSecond, bytesPerSecond);
        if (--sequence.UnsentTargetCount == 0 && !_closed && _sequences.ContainsKey(sequence.Id))
        {
            Tell(FrameKind.KvSent, sequence.Id, (ulong)sequence.SentBytes, double.IsFinite(sequence.LinkBytesPerSecond) ? sequence.LinkBytesPerSecond : 0);
        }
    }

    /// <summary>Whether a sequence is still open here.</summary>
    public bool Holds(StageSequence sequence) => !_closed && _sequences.TryGetValue(sequence.Id, out StageSequence? held) && held == sequence;

    /// <summary>Ends the session and tells the driver why.</summary>
    public void Evict(string text)
    {
        if (!_closed)
        {
            Break(text);
        }
    }

    /// <summary>Ends the session: closes its connections and gives back all memory.</summary>
    public void Shutdown()
    {
        if (_closed)
        {
            return;
        }

        _closed = true;
        host.Sessions.TryRemove(id, out _);
        _next?.Fail(new ObjectDisposedException(nameof(StageSession)));
        foreach (StageSequence sequence in _sequences.Values)
        {
            host.Imports.TryRemove((id, sequence.Id), out _);
            sequence.Dispose();
        }

        _sequences.Clear();
        _executor.KvPool.Forget(id);
        host.Track(_links.CloseAsync());
    }

    private void Sample(StepMessage step, StageSequence[] sequences)
    {
        var tokens = new List<SampledToken>();
        foreach ((int index, TokenChoice token, string? fault) in _runner.Sample(step, sequences))
        {
            StepItem item = step.Items[index];
            if (fault is null)
            {
                tokens.Add(new SampledToken(item.Sequence, item.FirstPosition + item.TokenCount, token));
            }
            else
            {
                Report(new FaultMessage(FaultCode.Numerics, item.Sequence, host.Name, fault));
            }
        }

        var header = new HeaderWriter();
        new TokensMessage(step.Step, tokens).Write(header);
        driver.Queue(OutgoingFrame.WithoutPayload(FrameKind.Tokens, header.ToArray()));
    }

    private void Tell(FrameKind kind, ulong sequence, ulong count, double measure = 0) =>
        driver.SendHere(new SequenceMessage(sequence, count) { Measure = (ulong)Math.Clamp(measure, 0, 1e18) }.ToFrame(kind));

    private bool CheckChain()
    {
        if (!ReferenceEquals(host.Exchange.Executor, _executor))
        {
            Break("The stage holds other layers now.");
            return false;
        }

        if (!_attached)
        {
            Break("The stage was not attached to its chain.");
        }

        return _attached;
    }

    /// <summary>The session makes no sense any more: says why, and ends it.</summary>
    private void Break(string text)
    {
        Report(new FaultMessage(FaultCode.StageFailed, 0, host.Name, text));
        driver.CloseAfterSending();
        Shutdown();
    }
}
