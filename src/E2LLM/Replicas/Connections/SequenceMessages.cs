using E2LLM.KvCaching;
using E2LLM.Sampling;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>A decode stage that gets some layers of a sequence's keys and values.</summary>
/// <param name="Peer">Its name.</param>
/// <param name="Session">Session there.</param>
/// <param name="Sequence">Number of the sequence there.</param>
/// <param name="Role">What it holds.</param>
/// <param name="FirstPosition">Positions before this one it has already. Since version 1.2.</param>
internal readonly record struct KvTarget(string Peer, ulong Session, ulong Sequence, StageRole Role, int FirstPosition = 0);

/// <summary>Starts a sequence on every stage of a replica; travels down the chain before the sequence's first step.</summary>
internal sealed record SequenceOpenMessage
{
    private const int MaxPosition = 1 << 28, MaxTargets = 1024;

    public required ulong Sequence { get; init; }

    /// <summary>Positions to reserve, prompt and output together.</summary>
    public required int CapacityTokenCount { get; init; }

    /// <summary>Positions of the prompt that move between replicas: imported or exported; 0 where nothing moves.</summary>
    public required int PromptTokenCount { get; init; }

    /// <summary>Whether the prompt's keys and values come from elsewhere.</summary>
    public required bool Imports { get; init; }

    /// <summary>Hash of the prompt's token ids (<see cref="KvTransferHeader.TokenPrefixHash"/>).</summary>
    public required byte[] TokenHash { get; init; }

    public required SamplingOptions Sampling { get; init; }

    /// <summary>Tokens known before the first step, whether their keys and values are here or not.</summary>
    public required int KnownTokenCount { get; init; }

    /// <summary>The latest of those, newest last, as many as the penalties look at; none without penalties.</summary>
    public IReadOnlyList<int> RecentTokens { get; init; } = [];

    /// <summary>Stages that get the prompt's keys and values as they are computed.</summary>
    public IReadOnlyList<KvTarget> Targets { get; init; } = [];

    /// <summary>Keys of the prompt's whole pages: those that a stage kept need not be computed again.</summary>
    public IReadOnlyList<PageKey> Pages { get; init; } = [];

    /// <summary>Trace that the stages' activities belong to (W3C traceparent); null where nobody traces. Since version 1.1.</summary>
    public string? TraceParent { get; init; }

    /// <summary>Whether a stage that imports may begin with pages that it kept; says how many in its answer, and gets the rest. Since version 1.2.</summary>
    public bool AdoptsPages { get; init; }

    /// <summary>Whether layer 0 does not move: the stage that imports it computes it. Since version 1.2.</summary>
    public bool ComputesFirstLayer { get; init; }

    /// <summary>Ids of the prompt, for the stage that computes layer 0; none for others. Since version 1.2.</summary>
    public int[] PromptIds { get; init; } = [];

    /// <summary>Pages that a stage may begin with; not all where it imports, so that there is a message to wait for.</summary>
    public IEnumerable<PageKey> PagesToAdopt => !Imports ? Pages : AdoptsPages ? Pages.Take((PromptTokenCount - 1) / PageKey.TokenCount) : [];

    /// <summary>Those of some layers that move from stage to stage.</summary>
    public LayerRange Moved(LayerRange layers) => ComputesFirstLayer && layers.Contains(0) ? new LayerRange(1, layers.End) : layers;

    /// <summary>The frame; its payload, recent tokens, logit bias, page keys and prompt ids, is empty for most.</summary>
    public OutgoingFrame ToFrame()
    {
        var writer = new HeaderWriter();
        writer.UInt64(Sequence).Int32(CapacityTokenCount).Int32(PromptTokenCount).Byte((byte)(Imports ? 1 : 0)).Bytes(TokenHash);
        SamplingFields.Write(writer, Sampling);
        writer.Int32(KnownTokenCount).Int32(RecentTokens.Count).UInt16(Targets.Count);
        foreach (KvTarget target in Targets)
        {
            writer.String(target.Peer).UInt64(target.Session).UInt64(target.Sequence)
                .Int32(target.Role.Layers.Start).Int32(target.Role.Layers.End).Byte((byte)((target.Role.HasEmbedding ? 1 : 0) | (target.Role.HasHead ? 2 : 0)));
        }

        byte minor = (byte)(AdoptsPages || ComputesFirstLayer || Targets.Any(target => target.FirstPosition > 0) ? 2 : TraceParent is not null ? 1 : 0);
        if (minor > 0)
        {
            writer.String(TraceParent ?? "");
        }

        if (minor > 1)
        {
            writer.Byte((byte)((AdoptsPages ? 1 : 0) | (ComputesFirstLayer ? 2 : 0))).Int32(PromptIds.Length);
            foreach (KvTarget target in Targets)
            {
                writer.Int32(target.FirstPosition);
            }
        }

        return SamplingFields.Frame(FrameKind.SequenceOpen, writer, RecentTokens, Sampling.LogitBias, Pages, PromptIds) with { Minor = minor };
    }

    public static SequenceOpenMessage Read(in Frame frame)
    {
        var reader = new HeaderReader(KvMessages.Contiguous(frame.Header), frame.HeaderOffset);
        ulong sequence = reader.UInt64("sequenceId");
        int capacity = reader.Int32("capacityTokenCount", 1, MaxPosition);
        int prompt = reader.Int32("promptTokenCount", 0, capacity);
        bool imports = reader.Boolean("imports");
        byte[] hash = reader.Hash("tokenPrefixHash");
        SamplingOptions sampling = SamplingFields.Read(ref reader, out int biasCount);
        int known = reader.Int32("knownTokenCount", prompt, MaxPosition);
        int recentCount = reader.Int32("recentTokenCount", 0, known);
        long at = reader.Offset;
        int count = reader.UInt16("targetCount");
        if (count > MaxTargets || (imports && prompt == 0))
        {
            throw new KvTransferException("targetCount", at, $"{count} targets (at most {MaxTargets}), {prompt} prompt positions, imports: {imports}.");
        }

        var targets = new List<KvTarget>();
        for (int i = 0; i < count; i++)
        {
            targets.Add(new KvTarget(reader.String("peer"), reader.UInt64("session"), reader.UInt64("sequenceId"), StageRole.Read(ref reader)));
        }

        string? trace = ReadTrace(ref reader, frame.Minor);
        byte moves = 0;
        int idCount = 0;
        if (frame.Minor > 1 && reader.RemainingBytes > 0)
        {
            at = reader.Offset;
            moves = reader.Byte("moves");
            idCount = reader.Int32("promptIdCount", 0, prompt);
            if (moves > 3 || (idCount != 0 && idCount != prompt))
            {
                throw new KvTransferException("moves", at, $"moves is {moves} (expected 0 to 3) with {idCount} ids (expected none or {prompt}).");
            }

            for (int i = 0; i < count; i++)
            {
                targets[i] = targets[i] with { FirstPosition = reader.Int32("firstPosition", 0, Math.Max(prompt - 1, 0)) };
            }
        }

        reader.End(frame.Minor);
        (int[] recent, sampling, long read) = SamplingFields.ReadPayload(frame, sampling, known, recentCount, biasCount);
        long idBytes = (long)idCount * sizeof(int), pageBytes = frame.Payload.Length - read - idBytes;
        if (pageBytes < 0)
        {
            throw new KvTransferException("payloadBytes", frame.Offset + 12, $"{idCount} prompt ids take {idBytes} bytes; {frame.Payload.Length - read} are left.");
        }

        int[] ids = new int[idCount];
        ReadOnlySpan<byte> idSpan = KvMessages.Contiguous(frame.Payload.Slice(read + pageBytes));
        for (int i = 0; i < ids.Length; i++)
        {
            ids[i] = System.Buffers.Binary.BinaryPrimitives.ReadInt32LittleEndian(idSpan[(i * sizeof(int))..]);
        }

        return new SequenceOpenMessage
        {
            Sequence = sequence, CapacityTokenCount = capacity, PromptTokenCount = prompt, Imports = imports, TokenHash = hash, Sampling = sampling, Targets = targets,
            KnownTokenCount = known, RecentTokens = recent, TraceParent = trace, Pages = PageKeys.Read(frame with { Payload = frame.Payload.Slice(read, pageBytes) }, capacity),
            AdoptsPages = (moves & 1) != 0, ComputesFirstLayer = (moves & 2) != 0, PromptIds = ids,
        };
    }

    private static string? ReadTrace(ref HeaderReader reader, byte minor)
    {
        if (minor < 1 || reader.RemainingBytes == 0)
        {
            return null;
        }

        long at = reader.Offset;
        string trace = reader.String("traceParent", 64);
        return trace.Length == 0 && minor > 1 ? null : System.Diagnostics.ActivityContext.TryParse(trace, null, out _)
            ? trace
            : throw new KvTransferException("traceParent", at, "traceParent is no W3C trace context.");
    }
}
