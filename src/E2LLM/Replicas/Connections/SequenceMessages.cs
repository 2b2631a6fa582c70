using E2LLM.KvCaching;
using E2LLM.Sampling;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>A decode stage that gets some layers of a sequence's keys and values.</summary>
internal readonly record struct KvTarget(string Peer, ulong Session, ulong Sequence, StageRole Role);

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

    /// <summary>The frame; its payload, recent tokens, logit bias and page keys, is empty for most.</summary>
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

        if (TraceParent is not null)
        {
            writer.String(TraceParent);
        }

        return SamplingFields.Frame(FrameKind.SequenceOpen, writer, RecentTokens, Sampling.LogitBias, Pages) with { Minor = (byte)(TraceParent is null ? 0 : 1) };
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
        reader.End(frame.Minor);
        (int[] recent, sampling, long read) = SamplingFields.ReadPayload(frame, sampling, known, recentCount, biasCount);
        return new SequenceOpenMessage
        {
            Sequence = sequence, CapacityTokenCount = capacity, PromptTokenCount = prompt, Imports = imports, TokenHash = hash, Sampling = sampling, Targets = targets,
            KnownTokenCount = known, RecentTokens = recent, TraceParent = trace, Pages = PageKeys.Read(frame with { Payload = frame.Payload.Slice(read) }, capacity),
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
        return System.Diagnostics.ActivityContext.TryParse(trace, null, out _)
            ? trace
            : throw new KvTransferException("traceParent", at, "traceParent is no W3C trace context.");
    }
}
