using E2LLM.Deployment;
using E2LLM.Diagnostics;
using E2LLM.KvCaching;
using E2LLM.Replicas.Connections;
using E2LLM.Scheduling;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// The state of one replica at its driver: which sequences are open, which steps are under way, what the stages have reported. Everything changes
/// under one lock; nothing in it waits. Thread-safe.
/// </summary>
internal sealed partial class ReplicaDriver(ReplicaPlan plan, ReplicaOptions options, int vocabularySize)
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

    /// <summary>What ended sequences left at the stages, as far as it can be known here.</summary>
    public KeptPrefixes Kept { get; private set; } = new(0);

    /// <summary>All stages have answered: what they hold is known.</summary>
    public void Connected(IReadOnlyList<DialedPeer> stages)
    {
        int blocks = stages.Min(stage => stage.Welcome.BlockCount), maxTokens = stages.Min(stage => stage.Welcome.MaxBatchTokenCount);
        int slots = options.MaxSequenceCount ?? (plan.DecodeSlots > 0 ? plan.DecodeSlots : Math.Max(1, blocks));
        lock (_gate)
        {
            Kept = new KeptPrefixes(blocks);
            Admission = new BlockAdmission(blocks, stages[0].Welcome.BlockTokenCount, slots);
            _scheduler = new StepScheduler(stages.Count, Math.Min(options.ChunkTokenCount, maxTokens));
            _firstStage = stages[0].Connection;
        }
    }

    /// <summary>
    /// Tells all stages to open a sequence; the caller has admission for it, which passes to the sequence. It is open when <see cref="ReplicaSequence.Opened"/> says so. Closed by
    /// <see cref="Close"/>, by the caller, whether it opened or not.
    /// </summary>
    public ReplicaSequence Open(SequenceStart start, int blocks)
    {
        lock (_gate)
        {
            if (_error is not null)
            {
                throw PeerLostException.Again(_error);
            }

            List<PageKey> pages = [];
            PageKey.Extend(pages, start.Prompt);
            var open = new SequenceOpenMessage
            {
                Pages = pages,
                Sequence = _nextSequence++,
                CapacityTokenCount = start.CapacityTokenCount,
                PromptTokenCount = start.Imports || start.Targets.Count > 0 ? start.Prompt.Count : 0,
                Imports = start.Imports,
                TokenHash = start.TokenHash,
                TraceParent = start.TraceParent,
                Sampling = start.Sampling,
                KnownTokenCount = start.Prompt.Count,
                RecentTokens = start.Sampling.HasPenalties ? [.. start.Prompt.TakeLast(start.Sampling.PenaltyWindow)] : [],
                Targets = start.Targets,
                AdoptsPages = start.AdoptsPages,
                ComputesFirstLayer = start.ComputesFirstLayer,
                PromptIds = start.Imports && start.ComputesFirstLayer ? [.. start.Prompt] : [],
            };
            var scheduled = new ScheduledSequence(start.Prompt, start.Imports ? start.Prompt.Count : 0);
            var sequence = new ReplicaSequence(open, scheduled, start.MaxNewTokenCount, start.EndsAt, blocks, plan.Stages.Count, options.TokenBufferCount);
            _sequences.Add(sequence.Id, sequence);
            _byScheduled.Add(scheduled, sequence);
            _firstStage!.Send(open.ToFrame());
            return sequence;
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

            if (!sequence.Open.Imports)
            {
                var tag = new KeyValuePair<string, object?>(Telemetry.DeviceTag, plan.Name);
                Telemetry.PromptTokenCounter.Add(sequence.Scheduled.Tokens.Count, tag);
                Telemetry.PromptTokenReusedCounter.Add(sequence.ReusedTokenCount, tag);
            }

            _scheduler.Add(sequence.Scheduled);
            Pump();
        }

        _firstStage!.SendHere();
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

            _firstStage!.SendHere();
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
                IReadOnlyList<PageKey> kept = sequence.PagesToKeep();
                Kept.Add(kept);
                _firstStage!.Send(new SequenceCloseMessage(sequence.Id, kept).ToFrame());
            }
        }

        sequence.Fail(new OperationCanceledException("The sequence was closed."));
    }

    /// <summary>Queues steps while any are due. Called under the lock; they are sent after it.</summary>
    private void Pump()
    {
        while (_error is null && _scheduler.TryNext(_items))
        {
            ulong step = _nextStep++;
            _steps.Add(step);
            _firstStage!.Queue(StepFrame.Create(step, _items, item => _byScheduled[item.Sequence].Id));
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
