namespace E2LLM.Simulation;

/// <summary>How the dispatcher chooses replicas.</summary>
public enum RouterKind
{
    /// <summary>Join the shortest estimated wait, own service included, as E2LLM does.</summary>
    JsqWait,

    /// <summary>Join the replica with the fewest requests.</summary>
    JsqCount,

    /// <summary>Join the replica with the fewest pending tokens.</summary>
    JsqTokens,

    /// <summary>Splitwise: both replicas at arrival; replicas of either phase lend a hand to the other while its queue is long.</summary>
    MixedPool,

    /// <summary>The better of two replicas drawn at random, by estimated wait.</summary>
    PowerOfTwo,

    /// <summary>Requests wait at the dispatcher until a replica can begin at once.</summary>
    CentralQueue,

    /// <summary>Least delay for all: the request's own estimated time plus what it adds to the sequences that it would join.</summary>
    LeastDelay,

    /// <summary>Where one more sequence adds most tokens per second: fewest requests in the system in the long run.</summary>
    AddedRate,

    /// <summary>
    /// As <c>Replicas.Dispatcher</c> of this library does: both replicas at arrival, the prompt to the one through with it soonest, generation to the one with the fewest
    /// planned seconds for a token of each of its sequences, of those with room if any has. A request is opened there stage by stage before its prompt is queued, behind the passes under way.
    /// </summary>
    Dispatcher,
}

/// <summary>How prompts share a pass.</summary>
public enum PrefillBatching
{
    /// <summary>Passes of at most <see cref="SimulationOptions.ChunkTokens"/> prompt tokens; a long prompt is cut, short ones share.</summary>
    Chunked,

    /// <summary>Whole prompts, as many as fit <see cref="SimulationOptions.MaxBatchTokens"/>, at least one.</summary>
    WholePrompts,
}

/// <summary>When the KV cache of a prompt moves to its decode replica.</summary>
public enum KvPush
{
    /// <summary>Layer by layer while the prompt is still computed, where the decode replica has room.</summary>
    Overlapped,

    /// <summary>All of it when the prompt is done.</summary>
    AfterPrefill,
}

/// <summary>How KV memory of a decoding sequence is taken.</summary>
public enum KvAdmission
{
    /// <summary>Room for prompt and whole output is reserved before decoding begins; nothing is ever evicted.</summary>
    Reserve,

    /// <summary>Blocks are taken as the sequence grows; where none is left, the youngest sequence is swapped to host memory or computed anew.</summary>
    Paged,
}

/// <summary>What to do with a request whose KV cache no replica can hold.</summary>
public enum OversizedRequests
{
    /// <summary>Throw an <see cref="ArgumentException"/> that names it.</summary>
    Throw,

    /// <summary>Leave it out and count it.</summary>
    Drop,
}

/// <summary>The policies of a simulated deployment. Immutable; safe to share. <see cref="RouterKind.Dispatcher"/> is what this library's own runtime does.</summary>
public sealed record SimulationOptions
{
    /// <summary>Seed of everything random in the run (power of two, bootstrap). Default 1.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>How replicas are chosen. Default <see cref="RouterKind.JsqWait"/>.</summary>
    public RouterKind Router { get; init; } = RouterKind.JsqWait;

    /// <summary>How prompts share a pass. Default <see cref="PrefillBatching.Chunked"/>.</summary>
    public PrefillBatching Batching { get; init; } = PrefillBatching.Chunked;

    /// <summary>Most prompt tokens of one pass of a prefill replica, fewer where the plan leaves less memory. Default 512; at least 1.</summary>
    public int ChunkTokens { get; init; } = 512;

    /// <summary>Most prompt tokens that join a pass in which sequences decode. Default 256; at least 1.</summary>
    public int MixedChunkTokens { get; init; } = 256;

    /// <summary>Most prompt tokens of one pass of whole prompts. Default 2048 (Splitwise).</summary>
    public int MaxBatchTokens { get; init; } = 2048;

    /// <summary>When KV caches move. Default <see cref="KvPush.Overlapped"/>.</summary>
    public KvPush KvPush { get; init; } = KvPush.Overlapped;

    /// <summary>How KV memory is taken. Default <see cref="KvAdmission.Reserve"/>.</summary>
    public KvAdmission KvAdmission { get; init; } = KvAdmission.Reserve;

    /// <summary>
    /// Order of the prefill queue: a request's key is <c>arrival + LengthWeight * its own prefill seconds</c>, smallest first. 0 (the default) is first come, first
    /// served; larger values let short prompts pass, and waiting still brings every request to the front (ageing).
    /// </summary>
    public double LengthWeight { get; init; }

    /// <summary>Passes in flight at once in a replica of k stages: 0 (the default) means k for decoding and k + 1 for prompts, enough to keep every stage busy.</summary>
    public int LaneCount { get; init; }

    /// <summary>What to do with a request that fits nowhere. Default <see cref="OversizedRequests.Throw"/>.</summary>
    public OversizedRequests Oversized { get; init; } = OversizedRequests.Throw;

    /// <summary>Pending prompt tokens beyond which the mixed pool looks elsewhere. Default 8192 (Splitwise).</summary>
    public int MixedPoolPromptTokens { get; init; } = 8192;

    /// <summary>Devices and links that fail and come back. Default none.</summary>
    public IReadOnlyList<SimulatedFailure> Failures { get; init; } = [];

    /// <summary>Re-planning while the run goes on; null (the default) keeps the plan.</summary>
    public ReplanOptions? Replan { get; init; }

    /// <summary>Resamples of the bootstrap intervals. Default 400; 0 leaves the intervals empty.</summary>
    public int BootstrapCount { get; init; } = 400;

    /// <summary>Throws where a value is out of range.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A value is out of range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(ChunkTokens, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MixedChunkTokens, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxBatchTokens, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(LaneCount);
        ArgumentOutOfRangeException.ThrowIfNegative(BootstrapCount);
        if (!(LengthWeight >= 0) || !double.IsFinite(LengthWeight))
        {
            throw new ArgumentOutOfRangeException(nameof(LengthWeight), LengthWeight, "Must be zero or more, and finite.");
        }
    }

    /// <summary>The router called <paramref name="name"/>: <c>jsq-wait, jsq-count, jsq-tokens, mixed-pool, power-of-two, central-queue, least-delay, added-rate, dispatcher</c>.</summary>
    /// <exception cref="ArgumentException">There is no such router.</exception>
    public static RouterKind ParseRouter(string name)
    {
        foreach (RouterKind kind in Enum.GetValues<RouterKind>())
        {
            if (NameOf(kind) == name)
            {
                return kind;
            }
        }

        throw new ArgumentException($"There is no router '{name}'; there are: {string.Join(", ", Enum.GetValues<RouterKind>().Select(NameOf))}.", nameof(name));
    }

    /// <summary>The name of a router as reports write it.</summary>
    public static string NameOf(RouterKind kind) => kind switch
    {
        RouterKind.JsqWait => "jsq-wait",
        RouterKind.JsqCount => "jsq-count",
        RouterKind.JsqTokens => "jsq-tokens",
        RouterKind.MixedPool => "mixed-pool",
        RouterKind.PowerOfTwo => "power-of-two",
        RouterKind.CentralQueue => "central-queue",
        RouterKind.LeastDelay => "least-delay",
        RouterKind.AddedRate => "added-rate",
        RouterKind.Dispatcher => "dispatcher",
        _ => throw new ArgumentOutOfRangeException(nameof(kind), kind, "Unknown router."),
    };
}
