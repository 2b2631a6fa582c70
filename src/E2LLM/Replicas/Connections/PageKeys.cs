using System.Buffers;
using E2LLM.KvCaching;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>Keys of pages as the payload of a frame: 32 bytes each, from position zero on.</summary>
internal static class PageKeys
{
    /// <summary>A frame with the keys as its payload.</summary>
    public static OutgoingFrame Frame(FrameKind kind, HeaderWriter header, IReadOnlyList<PageKey> pages)
    {
        if (pages.Count == 0)
        {
            return OutgoingFrame.WithoutPayload(kind, header.ToArray());
        }

        byte[] bytes = ArrayPool<byte>.Shared.Rent(pages.Count * PageKey.ByteCount);
        for (int i = 0; i < pages.Count; i++)
        {
            pages[i].Write(bytes.AsSpan(i * PageKey.ByteCount));
        }

        return OutgoingFrame.WithRented(kind, header.ToArray(), bytes, pages.Count * PageKey.ByteCount);
    }

    /// <summary>Reads the payload of a frame about a sequence of at most <paramref name="maxTokenCount"/> positions.</summary>
    /// <exception cref="KvTransferException">The payload is no whole number of keys, or has more than so many positions have pages.</exception>
    public static PageKey[] Read(in Frame frame, int maxTokenCount)
    {
        long count = frame.Payload.Length / PageKey.ByteCount;
        if (frame.Payload.Length % PageKey.ByteCount != 0 || count > maxTokenCount / PageKey.TokenCount)
        {
            throw new KvTransferException("payloadBytes", frame.Offset + 12,
                $"Expected page keys of {PageKey.ByteCount} bytes, at most {maxTokenCount / PageKey.TokenCount} of them; got {frame.Payload.Length} bytes.");
        }

        var keys = new PageKey[count];
        ReadOnlySpan<byte> bytes = KvMessages.Contiguous(frame.Payload);
        for (int i = 0; i < keys.Length; i++)
        {
            keys[i] = PageKey.Read(bytes[(i * PageKey.ByteCount)..]);
        }

        return keys;
    }
}

/// <summary>Ends a sequence on every stage of a replica; travels down the chain behind the sequence's last step.</summary>
/// <param name="Sequence">The sequence.</param>
/// <param name="Pages">Keys of its pages that are worth keeping for later prompts: prompt and output, from position zero on.</param>
internal sealed record SequenceCloseMessage(ulong Sequence, IReadOnlyList<PageKey> Pages)
{
    private const int MaxPosition = 1 << 28;

    public OutgoingFrame ToFrame()
    {
        var header = new HeaderWriter();
        new SequenceMessage(Sequence, 0).Write(header);
        return PageKeys.Frame(FrameKind.SequenceClose, header, Pages);
    }

    public static SequenceCloseMessage Read(in Frame frame)
    {
        var reader = new HeaderReader(KvMessages.Contiguous(frame.Header), frame.HeaderOffset);
        ulong sequence = reader.UInt64("sequenceId");
        _ = reader.UInt64("count");
        reader.End(frame.Minor);
        return new SequenceCloseMessage(sequence, PageKeys.Read(frame, MaxPosition));
    }
}
