using System.Buffers;

namespace E2LLM.Transfer;

/// <summary>
/// One verified frame. <see cref="Header"/> and <see cref="Payload"/> lie in the buffer it was scanned from and live as long as that.
/// </summary>
internal readonly struct Frame
{
    /// <summary>Bytes of the fixed prefix before the header.</summary>
    public const int PrefixBytes = 40;

    /// <summary>"E2LF" read as a little-endian word.</summary>
    public const uint Magic = 0x464C_3245;

    public const byte VersionMajor = 1;

    /// <summary>Newest minor version understood. A frame is stamped with the lowest one that has all its fields, so that older readers skip only what they lack.</summary>
    public const byte VersionMinor = 3;

    public required FrameKind Kind { get; init; }

    public required byte Minor { get; init; }

    public required ulong Sequence { get; init; }

    public required ulong Nonce { get; init; }

    /// <summary>Offset of the prefix from the start of the stream.</summary>
    public required long Offset { get; init; }

    public required ReadOnlySequence<byte> Header { get; init; }

    public required ReadOnlySequence<byte> Payload { get; init; }

    public long HeaderOffset => Offset + PrefixBytes;

    public long PayloadOffset => HeaderOffset + Header.Length;

    public long TotalBytes => PrefixBytes + Header.Length + Payload.Length;
}
