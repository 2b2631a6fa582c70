using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>Tells a stage its place in the replica: it then opens the stream to the next one.</summary>
internal readonly record struct AttachMessage(int StageIndex, int StageCount, string NextPeer, StageRole NextRole, string KvCodec)
{
    public void Write(HeaderWriter writer) => writer
        .UInt16(StageIndex).UInt16(StageCount).String(NextPeer)
        .Int32(NextRole.Layers.Start).Int32(NextRole.Layers.End).Byte((byte)((NextRole.HasEmbedding ? 1 : 0) | (NextRole.HasHead ? 2 : 0))).String(KvCodec);

    public static AttachMessage Read(in Frame frame)
    {
        var reader = new HeaderReader(KvMessages.Contiguous(frame.Header), frame.HeaderOffset);
        int index = reader.UInt16("stageIndex");
        long at = reader.Offset;
        int count = reader.UInt16("stageCount");
        if (index >= count)
        {
            throw new KvTransferException("stageCount", at, $"Stage {index} of {count} does not exist.");
        }

        string next = reader.String("nextPeer");
        StageRole role = StageRole.Read(ref reader);
        string codec = reader.String("kvCodec");
        reader.End(frame.Minor);
        KvMessages.NoPayload(frame);
        return new AttachMessage(index, count, next, role, codec);
    }
}

/// <summary>What a <see cref="FaultMessage"/> is about. The numbers are part of the wire format: never renumber.</summary>
internal enum FaultCode : byte
{
    /// <summary>The KV pool has too few free blocks; only the sequence is affected.</summary>
    PoolFull = 1,

    /// <summary>Keys and values for the sequence were refused, or never became whole.</summary>
    Transfer = 2,

    /// <summary>The logits of the sequence held a NaN.</summary>
    Numerics = 3,

    /// <summary>A neighbour of the stage is lost; the session is over, or only the sequence where one is named.</summary>
    PeerLost = 4,

    /// <summary>The stage itself cannot go on; the session is over.</summary>
    StageFailed = 5,
}

/// <summary>Something went wrong at a stage. Sequence 0 means the whole session.</summary>
internal readonly record struct FaultMessage(FaultCode Code, ulong Sequence, string Peer, string Text)
{
    private const int MaxTextBytes = 1024;

    public void Write(HeaderWriter writer) => writer
        .Byte((byte)Code).UInt64(Sequence).String(Cut(Peer, 200)).String(Cut(Text, MaxTextBytes / 4));

    public static FaultMessage Read(in Frame frame)
    {
        var reader = new HeaderReader(KvMessages.Contiguous(frame.Header), frame.HeaderOffset);
        long at = reader.Offset;
        var code = (FaultCode)reader.Byte("faultCode");
        if (!Enum.IsDefined(code))
        {
            throw new KvTransferException("faultCode", at, $"faultCode {(int)code} is unknown.");
        }

        var message = new FaultMessage(code, reader.UInt64("sequenceId"), reader.String("peer", MaxTextBytes), reader.String("text", MaxTextBytes));
        reader.End(frame.Minor);
        KvMessages.NoPayload(frame);
        return message;
    }

    private static string Cut(string text, int length) => text.Length <= length ? text : text[..length];
}

/// <summary>A sequence and a count: opened, closed, keys and values applied, keys and values sent.</summary>
internal readonly record struct SequenceMessage(ulong Sequence, ulong Count)
{
    /// <summary>
    /// What a stage measured, to its driver: with <see cref="FrameKind.KvSent"/> the bytes per second that its slowest link took, with <see cref="FrameKind.KvApplied"/> the nanoseconds that layer 0 took to compute.
    /// 0 where nothing was measured. Since version 1.3.
    /// </summary>
    public ulong Measure { get; init; }

    public void Write(HeaderWriter writer) => writer.UInt64(Sequence).UInt64(Count);

    public OutgoingFrame ToFrame(FrameKind kind)
    {
        var header = new HeaderWriter();
        Write(header);
        if (Measure > 0)
        {
            header.UInt64(Measure);
        }

        return OutgoingFrame.WithoutPayload(kind, header.ToArray()) with { Minor = (byte)(Measure > 0 ? 3 : 0) };
    }

    public static SequenceMessage Read(in Frame frame)
    {
        var reader = new HeaderReader(KvMessages.Contiguous(frame.Header), frame.HeaderOffset);
        var message = new SequenceMessage(reader.UInt64("sequenceId"), reader.UInt64("count"))
        {
            Measure = frame.Minor > 2 && reader.RemainingBytes > 0 ? reader.UInt64("measure") : 0,
        };
        reader.End(frame.Minor);
        KvMessages.NoPayload(frame);
        return message;
    }
}
