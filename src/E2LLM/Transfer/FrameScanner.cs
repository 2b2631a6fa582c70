using System.Buffers;
using System.Buffers.Binary;

namespace E2LLM.Transfer;

/// <summary>
/// Finds whole frames in bytes received so far: first whether the sizes are believable and all bytes are there, then whether the checksums
/// hold. Nobody reads a field of a frame that has not passed here. Stateless; thread-safe.
/// </summary>
internal static class FrameScanner
{
    /// <summary>Tries to take one frame from the start of <paramref name="buffer"/>.</summary>
    /// <param name="buffer">What has been received and not yet consumed.</param>
    /// <param name="offset">Offset of the buffer's start in the stream, for messages.</param>
    /// <param name="limits">Caps.</param>
    /// <param name="frame">The frame; its <see cref="Frame.TotalBytes"/> are to be consumed.</param>
    /// <param name="frameBytes">Bytes of the frame that is coming; 0 while its prefix is incomplete.</param>
    /// <returns>False where more bytes are needed.</returns>
    /// <exception cref="KvTransferException">The bytes can never become a frame.</exception>
    public static bool TryScan(in ReadOnlySequence<byte> buffer, long offset, TransferLimits limits, out Frame frame, out long frameBytes)
    {
        frame = default;
        frameBytes = 0;
        Span<byte> prefix = stackalloc byte[Frame.PrefixBytes];
        int have = (int)Math.Min(buffer.Length, Frame.PrefixBytes);
        prefix = prefix[..have];
        buffer.Slice(0, have).CopyTo(prefix);
        CheckMagic(prefix, offset);
        if (have < Frame.PrefixBytes)
        {
            return false;
        }

        uint prefixCrc = BinaryPrimitives.ReadUInt32LittleEndian(prefix[32..]);
        if (prefixCrc != Crc32C.Compute(prefix[..32]))
        {
            throw new KvTransferException("prefixCrc", offset + 32, "The checksum of the frame's prefix does not match: its bytes are damaged.");
        }

        CheckVersion(prefix, offset);
        long headerBytes = BinaryPrimitives.ReadUInt32LittleEndian(prefix[8..]);
        long payloadBytes = BinaryPrimitives.ReadUInt32LittleEndian(prefix[12..]);
        if (headerBytes > limits.MaxHeaderBytes)
        {
            throw new KvTransferException("headerBytes", offset + 8, $"A frame header of {headerBytes} bytes exceeds the cap of {limits.MaxHeaderBytes}.");
        }

        long total = Frame.PrefixBytes + headerBytes + payloadBytes;
        if (total > limits.MaxFrameBytes)
        {
            throw new KvTransferException("payloadBytes", offset + 12, $"A frame of {total} bytes exceeds the cap of {limits.MaxFrameBytes}.");
        }

        frameBytes = total;
        if (buffer.Length < total)
        {
            return false;
        }

        ReadOnlySequence<byte> body = buffer.Slice(Frame.PrefixBytes, headerBytes + payloadBytes);
        uint crc = Crc32C.Finish(Crc32C.Append(Crc32C.Append(Crc32C.Start, prefix[..36]), body));
        if (crc != BinaryPrimitives.ReadUInt32LittleEndian(prefix[36..]))
        {
            throw new KvTransferException("frameCrc", offset + 36, "The checksum of the frame does not match: its bytes are damaged.");
        }

        frame = new Frame
        {
            Kind = (FrameKind)prefix[6],
            Minor = prefix[5],
            Sequence = BinaryPrimitives.ReadUInt64LittleEndian(prefix[16..]),
            Nonce = BinaryPrimitives.ReadUInt64LittleEndian(prefix[24..]),
            Offset = offset,
            Header = body.Slice(0, headerBytes),
            Payload = body.Slice(headerBytes),
        };
        return true;
    }

    /// <summary>Junk is refused at its first byte: a peer that speaks another protocol need not send a whole prefix to be told.</summary>
    private static void CheckMagic(ReadOnlySpan<byte> prefix, long offset)
    {
        Span<byte> magic = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(magic, Frame.Magic);
        int have = Math.Min(prefix.Length, magic.Length);
        if (!prefix[..have].SequenceEqual(magic[..have]))
        {
            throw new KvTransferException("magic", offset, $"Expected the magic bytes \"E2LF\", found {Convert.ToHexString(prefix[..have])}.");
        }
    }

    private static void CheckVersion(ReadOnlySpan<byte> prefix, long offset)
    {
        if (prefix[4] != Frame.VersionMajor)
        {
            throw new KvTransferException("versionMajor", offset + 4, $"Frame version {prefix[4]}.{prefix[5]} is not supported; supported: {Frame.VersionMajor}.x.");
        }

        if (prefix[7] != 0)
        {
            throw new KvTransferException("flags", offset + 7, $"Reserved flag bits are set: 0x{prefix[7]:X2}.");
        }

        if (prefix[5] <= Frame.VersionMinor && !Enum.IsDefined((FrameKind)prefix[6]))
        {
            throw new KvTransferException("kind", offset + 6, $"Frame kind {prefix[6]} is unknown in version {prefix[4]}.{prefix[5]}.");
        }
    }
}
