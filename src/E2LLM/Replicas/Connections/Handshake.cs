using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>What a connection is for. The numbers are part of the wire format: never renumber.</summary>
internal enum ConnectionPurpose : byte
{
    /// <summary>From a replica's driver to each of its stages; opens a session.</summary>
    Driver = 1,

    /// <summary>From a stage to the next one of its replica.</summary>
    Chain = 2,

    /// <summary>From a prefill stage to a decode stage.</summary>
    KeysValues = 3,

    /// <summary>From a dispatcher to a device: the layers of the hello are to be loaded; its session is the epoch of the plan that says so.</summary>
    Load = 4,
}

/// <summary>First frame of the side that opened the stream.</summary>
internal sealed record HelloMessage
{
    public required ConnectionPurpose Purpose { get; init; }

    /// <summary>Name of the sender.</summary>
    public required string From { get; init; }

    /// <summary>Name of the device that the sender means to reach: a stream may lead elsewhere.</summary>
    public required string To { get; init; }

    /// <summary>Session of the receiving stage; chosen by the driver, never used twice.</summary>
    public required ulong Session { get; init; }

    public required ulong Nonce { get; init; }

    /// <summary>Layers that the sender expects the receiver to hold, with embedding and head.</summary>
    public required StageRole Role { get; init; }

    public required KvElementType ElementType { get; init; }

    public required ModelIdentity Model { get; init; }

    /// <summary>Codecs that the receiver must know; none where what both know is taken. Since version 1.3.</summary>
    public IReadOnlyList<CodecName> Codecs { get; init; } = [];

    public OutgoingFrame ToFrame()
    {
        HeaderWriter writer = new HeaderWriter()
            .Byte((byte)Purpose).UInt64(Session).UInt64(Nonce).String(From).String(To)
            .Int32(Role.Layers.Start).Int32(Role.Layers.End).Byte((byte)((Role.HasEmbedding ? 1 : 0) | (Role.HasHead ? 2 : 0)))
            .Byte((byte)ElementType).Bytes(Model.CanonicalBytes);
        if (Codecs.Count > 0)
        {
            writer.Byte(checked((byte)Codecs.Count));
            foreach (CodecName codec in Codecs)
            {
                writer.Byte(codec.Id).String(codec.Name);
            }
        }

        return OutgoingFrame.WithoutPayload(FrameKind.Hello, writer.ToArray()) with { Minor = (byte)(Codecs.Count > 0 ? 3 : 0) };
    }

    public static HelloMessage Read(in Frame frame)
    {
        var reader = new HeaderReader(KvMessages.Contiguous(frame.Header), frame.HeaderOffset);
        long at = reader.Offset;
        var purpose = (ConnectionPurpose)reader.Byte("purpose");
        if (!Enum.IsDefined(purpose))
        {
            throw new KvTransferException("purpose", at, $"purpose is {(int)purpose}; expected 1 to 4.");
        }

        ulong session = reader.UInt64("session"), nonce = reader.UInt64("nonce");
        string from = reader.String("from"), to = reader.String("to");
        StageRole role = StageRole.Read(ref reader);
        at = reader.Offset;
        var type = (KvElementType)reader.Byte("elementType");
        if (!Enum.IsDefined(type))
        {
            throw new KvTransferException("elementType", at, $"KV element type {(int)type} is unknown.");
        }

        ModelIdentity model = ModelIdentityReading.Read(ref reader);
        var codecs = new List<CodecName>();
        for (int i = frame.Minor > 2 && reader.RemainingBytes > 0 ? reader.Byte("codecCount") : 0; i > 0; i--)
        {
            codecs.Add(new CodecName(reader.Byte("codec"), reader.String("codecName")));
        }

        reader.End(frame.Minor);
        KvMessages.NoPayload(frame);
        return new HelloMessage { Purpose = purpose, From = from, To = to, Session = session, Nonce = nonce, Role = role, ElementType = type, Model = model, Codecs = codecs };
    }
}

/// <summary>A codec as both sides must know it: under one number the same one.</summary>
internal readonly record struct CodecName(byte Id, string Name)
{
    /// <summary>Those that policies insist on, each once.</summary>
    public static IReadOnlyList<CodecName> Of(params IEnumerable<KvCodecPolicy> policies) =>
        [.. policies.SelectMany(policy => policy.Insisted).Select(codec => new CodecName(codec.Id, codec.Name)).Distinct()];

    public override string ToString() => $"{Id} ({Name})";
}

/// <summary>Which part of the model a stage holds.</summary>
internal readonly record struct StageRole(LayerRange Layers, bool HasEmbedding, bool HasHead)
{
    public static StageRole Read(ref HeaderReader reader)
    {
        int start = reader.Int32("layerStart"), end = reader.Int32("layerEnd", start);
        long at = reader.Offset;
        byte flags = reader.Byte("stageFlags");
        return flags <= 3
            ? new StageRole(new LayerRange(start, end), (flags & 1) != 0, (flags & 2) != 0)
            : throw new KvTransferException("stageFlags", at, $"stageFlags is {flags}; expected 0 to 3.");
    }
}

/// <summary>Answer to a hello that was accepted.</summary>
internal readonly record struct WelcomeMessage(string Name, ulong Nonce, int BlockTokenCount, int BlockCount, int MaxBatchTokenCount, ulong Codecs)
{
    /// <summary>Newest minor version that the sender understands; 1 from senders that do not say.</summary>
    public byte Minor { get; init; } = Frame.VersionMinor;

    public OutgoingFrame ToFrame()
    {
        HeaderWriter writer = new HeaderWriter()
            .String(Name).UInt64(Nonce).Int32(BlockTokenCount).Int32(BlockCount).Int32(MaxBatchTokenCount).UInt64(Codecs).Byte(Minor);
        return OutgoingFrame.WithoutPayload(FrameKind.Welcome, writer.ToArray()) with { Minor = 2 };
    }

    public static WelcomeMessage Read(in Frame frame)
    {
        var reader = new HeaderReader(KvMessages.Contiguous(frame.Header), frame.HeaderOffset);
        var message = new WelcomeMessage(
            reader.String("name"), reader.UInt64("nonce"), reader.Int32("blockTokenCount", 1), reader.Int32("blockCount"),
            reader.Int32("maxBatchTokenCount", 1), reader.UInt64("codecs"))
        {
            Minor = frame.Minor > 1 ? reader.Byte("versionMinor") : (byte)1,
        };
        reader.End(frame.Minor);
        KvMessages.NoPayload(frame);
        return message;
    }
}

/// <summary>Answer to a hello that was refused. Differences are written as the sender of the refusal sees them.</summary>
internal sealed record RejectMessage(string Reason, IReadOnlyList<IdentityDifference> Differences)
{
    private const int MaxTextBytes = 1024, MaxValueBytes = 256, MaxDifferences = 64;

    public void Write(HeaderWriter writer)
    {
        writer.String(Reason).UInt16(Differences.Count);
        foreach (IdentityDifference difference in Differences)
        {
            writer.String(difference.Field).String(Cut(difference.Ours)).String(Cut(difference.Theirs));
        }
    }

    /// <summary>A text that the other side accepts: as it is, or its beginning.</summary>
    private static string Cut(string text) => System.Text.Encoding.UTF8.GetByteCount(text) <= MaxValueBytes ? text : text[..Math.Min(text.Length, MaxValueBytes / 4)];

    /// <summary>Reads a refusal; its "ours" is our "theirs".</summary>
    public static RejectMessage Read(in Frame frame)
    {
        var reader = new HeaderReader(KvMessages.Contiguous(frame.Header), frame.HeaderOffset);
        string reason = reader.String("reason", MaxTextBytes);
        long at = reader.Offset;
        int count = reader.UInt16("differenceCount");
        if (count > MaxDifferences)
        {
            throw new KvTransferException("differenceCount", at, $"differenceCount is {count}; expected 0 to {MaxDifferences}.");
        }

        var differences = new List<IdentityDifference>();
        for (int i = 0; i < count; i++)
        {
            string field = reader.String("field"), theirs = reader.String("theirs"), ours = reader.String("ours");
            differences.Add(new IdentityDifference(field, ours, theirs));
        }

        reader.End(frame.Minor);
        KvMessages.NoPayload(frame);
        return new RejectMessage(reason, differences);
    }
}
