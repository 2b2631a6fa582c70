using System.Buffers;
using E2LLM.KvCaching;

namespace E2LLM.Transfer;

/// <summary>Header of a KV slice frame: which keys or values its payload is, and how it is coded.</summary>
internal readonly record struct KvSliceHeader(
    ulong TransferId, int Layer, int FirstToken, int TokenCount, KvPart Part, byte Codec, uint RawBytes, uint DecodedCrc);

/// <summary>Header of the frame that ends a KV message.</summary>
internal readonly record struct KvEndHeader(ulong TransferId, uint SliceCount, ulong RawBytes);

/// <summary>The bytes of KV headers, one place for both directions. The layouts are those of WIRE_FORMAT.md, "KV message".</summary>
internal static class KvMessages
{
    /// <summary>Highest layer, position, head count and width believed; far above any model, far below where products overflow a long.</summary>
    private const int MaxLayer = 1 << 16, MaxPosition = 1 << 28, MaxHeads = 1 << 14, MaxHeadDim = 1 << 14;

    public static void Write(HeaderWriter writer, KvTransferHeader header) => writer
        .UInt64(header.TransferId)
        .Int32(header.Layers.Start).Int32(header.Layers.End)
        .Int32(header.FirstPosition).Int32(header.PositionCount)
        .Int32(header.KvHeadCount).Int32(header.HeadDim)
        .Byte((byte)header.ElementType).Byte(0).UInt16(0)
        .Bytes(header.ModelHash.Span).Bytes(header.TokenPrefixHash.Span);

    public static void Write(HeaderWriter writer, in KvSliceHeader header) => writer
        .UInt64(header.TransferId)
        .Int32(header.Layer).Int32(header.FirstToken).Int32(header.TokenCount)
        .Byte((byte)header.Part).Byte(header.Codec).UInt16(0)
        .UInt32(header.RawBytes).UInt32(header.DecodedCrc);

    public static void Write(HeaderWriter writer, in KvEndHeader header) => writer
        .UInt64(header.TransferId).UInt32(header.SliceCount).UInt64(header.RawBytes);

    public static KvTransferHeader ReadBegin(in Frame frame, TransferLimits limits)
    {
        var reader = new HeaderReader(Contiguous(frame.Header), frame.HeaderOffset);
        ulong id = reader.UInt64("transferId");
        int layerStart = reader.Int32("layerStart", 0, MaxLayer);
        int layerEnd = reader.Int32("layerEnd", layerStart + 1, MaxLayer);
        int first = reader.Int32("firstPosition", 0, MaxPosition);
        int count = reader.Int32("positionCount", 1, MaxPosition);
        int heads = reader.Int32("kvHeadCount", 1, MaxHeads);
        int headDim = reader.Int32("headDim", 1, MaxHeadDim);
        long at = reader.Offset;
        var type = (KvElementType)reader.Byte("elementType");
        if (!Enum.IsDefined(type) || (type == KvElementType.Q8_0 && headDim % 32 != 0))
        {
            throw new KvTransferException("elementType", at, $"KV element type {(int)type} with heads of {headDim} is not supported. Known: {string.Join(", ", Enum.GetNames<KvElementType>())}.");
        }

        reader.Reserved(3, "reserved");
        var header = new KvTransferHeader
        {
            TransferId = id,
            Layers = new LayerRange(layerStart, layerEnd),
            FirstPosition = first,
            PositionCount = count,
            KvHeadCount = heads,
            HeadDim = headDim,
            ElementType = type,
            ModelHash = reader.Hash("modelHash"),
            TokenPrefixHash = reader.Hash("tokenPrefixHash"),
        };
        reader.End(frame.Minor);
        NoPayload(frame);
        if ((UInt128)2 * (uint)header.Layers.Count * (uint)count * (uint)header.Layout.TokenBytes > (UInt128)limits.MaxMessageBytes)
        {
            throw new KvTransferException("positionCount", frame.HeaderOffset, $"A message of {header.Layers.Count} layers and {count} positions exceeds the cap of {limits.MaxMessageBytes} bytes.");
        }

        return header;
    }

    public static KvSliceHeader ReadSlice(in Frame frame)
    {
        var reader = new HeaderReader(Contiguous(frame.Header), frame.HeaderOffset);
        ulong id = reader.UInt64("transferId");
        int layer = reader.Int32("layer", 0, MaxLayer);
        int first = reader.Int32("firstToken", 0, MaxPosition);
        int count = reader.Int32("tokenCount", 1, MaxPosition);
        long at = reader.Offset;
        var part = (KvPart)reader.Byte("part");
        if (!Enum.IsDefined(part))
        {
            throw new KvTransferException("part", at, $"part is {(int)part}; expected 1 (keys) or 2 (values).");
        }

        byte codec = reader.Byte("codec");
        reader.Reserved(2, "reserved");
        uint raw = reader.UInt32("rawBytes");
        uint crc = reader.UInt32("decodedCrc");
        reader.End(frame.Minor);
        return new KvSliceHeader(id, layer, first, count, part, codec, raw, crc);
    }

    public static KvEndHeader ReadEnd(in Frame frame)
    {
        var reader = new HeaderReader(Contiguous(frame.Header), frame.HeaderOffset);
        var header = new KvEndHeader(reader.UInt64("transferId"), reader.UInt32("sliceCount"), reader.UInt64("rawBytes"));
        reader.End(frame.Minor);
        NoPayload(frame);
        return header;
    }

    /// <summary>A frame whose kind has no payload must have none.</summary>
    public static void NoPayload(in Frame frame)
    {
        if (!frame.Payload.IsEmpty)
        {
            throw new KvTransferException("payloadBytes", frame.Offset + 12, $"A frame of kind {frame.Kind} has no payload, got {frame.Payload.Length} bytes.");
        }
    }

    /// <summary>The bytes in one piece: copied only where they lie in several segments, and a whole frame is present by then.</summary>
    public static ReadOnlySpan<byte> Contiguous(in ReadOnlySequence<byte> bytes) => bytes.IsSingleSegment ? bytes.FirstSpan : bytes.ToArray();
}
