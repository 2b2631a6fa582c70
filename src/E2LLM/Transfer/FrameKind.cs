namespace E2LLM.Transfer;

/// <summary>What a frame carries. The numbers are part of the wire format: never renumber.</summary>
internal enum FrameKind : byte
{
    Hello = 1,
    Welcome = 2,
    Reject = 3,
    Heartbeat = 4,
    Fault = 5,
    Attach = 6,
    Attached = 7,
    Loaded = 8,
    KvBegin = 16,
    KvSlice = 17,
    KvEnd = 18,
    KvApplied = 19,
    SequenceOpen = 32,
    SequenceOpened = 33,
    SequenceClose = 34,
    Step = 35,
    Hidden = 36,
    Tokens = 37,
    KvSent = 38,
}
