using E2LLM.Deployment;
using E2LLM.Replicas.Connections;
using E2LLM.Scheduling;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// The state of one replica at its driver: which sequences are open, which steps are under way, what the stages have reported. Everything changes
/// under one lock; nothing in it waits. Thread-safe.
/// </summary>
internal sealed class ReplicaDriver(ReplicaPlan plan, ReplicaOptions options, int vocabularySize)
{
    private readonly Lock _gate = new();
    private readonly TaskCompletionSource _attached = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _lost = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Dictionary<ulong, ReplicaSequence> _sequences = [];
    private readonly Dictionary<ScheduledSequence, ReplicaSequence> _byScheduled = [];
    private readonly HashSet<ulong> _steps = [];
    private readonly List<ScheduledItem> _items = [];
    private StepScheduler _scheduler = new(1, 1);
    private PeerConnection? _firstStage;
    private Exception? _error;
    private ulong _nextSequence = 1;
    private ulong _nextStep = 1;
    private int _awaitedAttachCount = plan.Stages.Count;

    /// <summary>Ends when every stage has its place in the chain.</summary>
    public Task Attached => _attached.Task;

    /// <summary>Ends when the replica is lost; never throws.</summary>
    public Task Lost => _lost.Task;

    /// <summary>Why the replica is lost; null while it is not.</summary>
    public Exception? Error
    {
        get
        {
            lock (_gate)
            {
                return _error;
            }
        }
    }

    public int SequenceCount
    {
        get
        {
            lock (_gate)
            {
                return _sequences.Count;
            }
        }
    }

    public BlockAdmission Admission { get; private set; } = new(0, 1, 1);

    /// <summary>All stages have answered: what they hold is known.</summary>
    public void Connected(IReadOnlyList<DialedPeer> stages)
    {
        int blocks = stages.Min(stage => stage.Welcome.BlockCount), maxTokens = stages.Min(stage => stage.Welcome.MaxBatchTokenCount);
        int slots = options.MaxSequenceCount ?? (plan.DecodeSlots > 0 ? plan.DecodeSlots : Math.Max(1, blocks));
        lock (_gate)
        {
            Admission = new BlockAdmission(blocks, stages[0].Welcome.BlockTokenCount, slots);
            _scheduler = new StepScheduler(stages.Count, Math.Min(options.ChunkTokenCount, maxTokens));
            _firstStage = stages[0].Connection;
        }
    }

    /// <summary>
    /// Opens a sequence on all stages; the caller has admission for it, which passes to the sequence. Closed by <see cref="Close"/>, by the caller.
    /// </summary>
    public async Task<ReplicaSequence> OpenAsync(SequenceStart start, int blocks, CancellationToken cancellationToken)
    {
        ReplicaSequence sequence;
        lock (_gate)
        {
            if (_error is not null)
            {
                throw PeerLostException.Again(_error);
            }

            var open = new SequenceOpenMessage
            {
                Sequence = _nextSequence++,
                CapacityTokenCount = start.CapacityTokenCount,
                PromptTokenCount = start.Imports || start.Targets.Count > 0 ? start.Prompt.Count : 0,
                Imports = start.Imports,
                TokenHash = start.TokenHash,
                Sampling = start.Sampling,
                Targets = start.Targets,
            };
            var scheduled = new ScheduledSequence(start.Prompt, start.Imports ? start.Prompt.Count : 0);
            sequence = new ReplicaSequence(open, scheduled, start.MaxNewTokenCount, start.EndsAt, blocks, plan.Stages.Count, options.TokenBufferCount);
            _sequences.Add(sequence.Id, sequence);
            _byScheduled.Add(scheduled, sequence);
            var header = new HeaderWriter();
            open.Write(header);
            _firstStage!.Send(FrameKind.SequenceOpen, header);
        }

        try
        {
            await sequence.Opened.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
            return sequence;
        }
        catch
        {
            Close(sequence);
            throw;
        }
    }

    /// <summary>Lets a sequence take part in steps, after <paramref name="token"/> where its prompt came from elsewhere.</summary>
    public void Start(ReplicaSequence sequence, int? token = null)
    {
        lock (_gate)
        {
            if (_error is not null || sequence.IsClosing)
            {
                return;
            }

            if (token is { } first)
            {
                sequence.Scheduled.Append(first);
            }

            _scheduler.Add(sequence.Scheduled);
            Pump();
        }
    }

    /// <summary>Tells that the consumer of a sequence took a token.</summary>
    public void Consumed(ReplicaSequence sequence)
    {
        if (sequence.Consumed())
        {
            lock (_gate)
            {
                sequence.Scheduled.IsPaused = false;
                _scheduler.Ready(sequence.Scheduled);
                Pump();
            }
        }
    }

    /// <summary>Forgets a sequence here and on all stages. Its blocks become free when all stages have confirmed. May be called twice.</summary>
    public void Close(ReplicaSequence sequence)
    {
        lock (_gate)
        {
            if (sequence.IsClosing)
            {
                return;
            }

            sequence.IsClosing = true;
            _scheduler.Remove(sequence.Scheduled);
            if (_error is null)
            {
                var header = new HeaderWriter();
                new SequenceMessage(sequence.Id, 0).Write(header);
                _firstStage!.Send(FrameKind.SequenceClose, header);
            }
        }

        sequence.Fail(new OperationCanceledException("The sequence was closed."));
    }

    /// <summary>Takes a frame of a stage.</summary>
    public void OnFrame(int stage, in Frame frame)
    {
        switch (frame.Kind)
        {
            case FrameKind.Tokens:
                OnTokens(TokensMessage.Read(frame, vocabularySize));
                break;
            case FrameKind.Attached:
                lock (_gate)
                {
                    ReplicaSequence.Complete(--_awaitedAttachCount, _attached);
                }

                break;
            case FrameKind.SequenceOpened or FrameKind.KvApplied or FrameKind.KvSent or FrameKind.SequenceClose:
                OnSequence(frame.Kind, SequenceMessage.Read(frame));
                break;
            case FrameKind.Fault:
                OnFault(stage, FaultMessage.Read(frame));
                break;
            default:
                throw new KvTransferException("kind", frame.Offset + 6, $"A stage does not send frames of kind {frame.Kind} to its driver.");
        }
    }

    private void OnSequence(FrameKind kind, SequenceMessage message)
    {
        lock (_gate)
        {
            if (!_sequences.TryGetValue(message.Sequence, out ReplicaSequence? sequence))
            {
                return;
            }

            switch (kind)
            {
                case FrameKind.SequenceOpened:
                    ReplicaSequence.Complete(--sequence.AwaitedOpenCount, sequence.Opened);
                    break;
                case FrameKind.KvApplied:
                    if (message.Count != (ulong)sequence.Open.PromptTokenCount)
                    {
                        sequence.Fail(new SequenceFailedException(plan.Name, -1, isRetryable: true, $"{message.Count} positions were applied; expected {sequence.Open.PromptTokenCount}."));
                        break;
                    }

                    ReplicaSequence.Complete(--sequence.AwaitedApplyCount, sequence.Applied);
                    break;
                case FrameKind.KvSent:
                    sequence.SentBytes += (long)message.Count;
                    ReplicaSequence.Complete(--sequence.AwaitedSentCount, sequence.Sent);
                    break;
                default:
                    if (--sequence.AwaitedCloseCount == 0)
                    {
                        _sequences.Remove(sequence.Id);
                        _byScheduled.Remove(sequence.Scheduled);
                        Admission.Release(sequence.Blocks);
                    }

                    break;
            }
        }
    }

    private void OnFault(int stage, FaultMessage fault)
    {
        if (fault.Sequence == 0)
        {
            int index = plan.Stages.ToList().FindIndex(candidate => candidate.Device == fault.Peer);
            Fail(new PeerLostException(fault.Peer, index, fault.Code == FaultCode.PeerLost ? PeerLossReason.Closed : PeerLossReason.Failed, fault.Text));
            return;
        }

        lock (_gate)
        {
            if (_sequences.TryGetValue(fault.Sequence, out ReplicaSequence? sequence))
            {
                _scheduler.Remove(sequence.Scheduled);
                sequence.Fail(fault.Code == FaultCode.PeerLost
                    ? new PeerLostException(fault.Peer, -1, PeerLossReason.Closed, fault.Text)
                    : new SequenceFailedException(fault.Peer, stage, fault.Code != FaultCode.Numerics, fault.Text));
                Pump();
            }
        }
    }

    private void OnTokens(TokensMessage message)
    {
        lock (_gate)
        {
            if (!_steps.Remove(message.Step))
            {
                throw new KvTransferException("step", 0, $"Step {message.Step} is not under way.");
            }

            _scheduler.StepDone();
            foreach (SampledToken token in message.Tokens)
            {
                if (!_sequences.TryGetValue(token.Sequence, out ReplicaSequence? sequence) || sequence.RemainingTokenCount == 0)
                {
                    continue;
                }

                if (token.Position != sequence.Scheduled.Tokens.Count)
                {
                    throw new KvTransferException("position", 0, $"A token for position {token.Position} came; {sequence.Scheduled.Tokens.Count} are known.");
                }

                sequence.Emit(token.Token);
                if (sequence.RemainingTokenCount == 0)
                {
                    _scheduler.Remove(sequence.Scheduled);
                }
                else
                {
                    _scheduler.Ready(sequence.Scheduled);
                }
            }

            Pump();
        }
    }

    /// <summary>Sends steps while any are due. Called under the lock.</summary>
    private void Pump()
    {
        while (_error is null && _scheduler.TryNext(_items))
        {
            ulong step = _nextStep++;
            _steps.Add(step);
            _firstStage!.Send(StepFrame.Create(step, _items, item => _byScheduled[item.Sequence].Id));
        }
    }

    /// <summary>Ends the replica once, for one reason.</summary>
    public void Fail(Exception error)
    {
        List<ReplicaSequence> sequences;
        lock (_gate)
        {
            if (_error is not null)
            {
                return;
            }

            _error = error;
            sequences = [.. _sequences.Values];
            _sequences.Clear();
        }

        _attached.TrySetException(error);
        _ = _attached.Task.Exception;
        Admission.Close(PeerLostException.Again(error));
        foreach (ReplicaSequence sequence in sequences)
        {
            sequence.Fail(PeerLostException.Again(error));
        }

        _lost.TrySetResult();
    }
}
