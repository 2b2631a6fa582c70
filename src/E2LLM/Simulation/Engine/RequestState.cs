namespace E2LLM.Simulation.Engine;

/// <summary>Where a request stands.</summary>
internal enum RequestPhase
{
    Parked,
    Opening,
    QueuedForPrefill,
    Prefilling,
    WaitingForMemory,
    Transferring,
    Ready,
    Decoding,
    Swapped,
}

/// <summary>A request in flight. Pooled: the simulation hands out slots and takes them back when the request is done.</summary>
internal sealed class RequestState
{
    public readonly int Slot;

    /// <summary>Its place in the one queue it stands in (parked, waiting for memory or ready), so that standing in a queue allocates nothing.</summary>
    public readonly LinkedListNode<RequestState> Node;

    /// <summary>Changes whenever what was under way for the request has become void (a failure, the end): stale events carry the old one.</summary>
    public int Epoch;

    public long Id;
    public double ArrivalSeconds;
    public int PromptTokens, OutputTokens;

    public RequestPhase Phase;

    /// <summary>False while the slot is free.</summary>
    public bool IsActive;

    /// <summary>Replica that prefills and replica that decodes; -1 while not chosen.</summary>
    public int PrefillReplica, DecodeReplica;

    /// <summary>Tokens to pass over before decoding goes on: the prompt, plus the output so far where a cache was lost.</summary>
    public int PrefillTokens;

    /// <summary>Of those: in passes that have begun, and those whose transfer has been arranged.</summary>
    public int ScheduledTokens, PushedTokens;

    public int GeneratedTokens;

    /// <summary>Positions reserved at the prefill replica and at the decode replica.</summary>
    public int SourcePositions, TargetPositions;

    /// <summary>While it is opened: the replica that is told, and its stage that is next; all stages, when they have been told.</summary>
    public int OpeningReplica, OpeningStage;

    public int PendingFlows;
    public bool PrefillDone;
    public double QueueKey, QueuedAt;

    public double PrefillStart, FirstToken, KvReady, DecodeStart, LastToken, LongestGap;

    /// <summary>Positions whose keys and values exist: what the next token attends to.</summary>
    public int Context => PromptTokens + GeneratedTokens;

    public RequestState(int slot)
    {
        Slot = slot;
        Node = new LinkedListNode<RequestState>(this);
    }

    public void Begin(long id, double arrival, int prompt, int output)
    {
        Id = id;
        IsActive = true;
        ArrivalSeconds = arrival;
        PromptTokens = prompt;
        OutputTokens = output;
        Phase = RequestPhase.Parked;
        PrefillReplica = DecodeReplica = -1;
        PrefillTokens = Math.Max(1, prompt);
        ScheduledTokens = PushedTokens = GeneratedTokens = SourcePositions = TargetPositions = PendingFlows = 0;
        PrefillDone = false;
        PrefillStart = FirstToken = KvReady = DecodeStart = LastToken = double.NaN;
        LongestGap = 0;
    }
}
