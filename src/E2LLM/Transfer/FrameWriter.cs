using System.Buffers;
using System.Buffers.Binary;

namespace E2LLM.Transfer;

/// <summary>Writes frames of one direction of one connection: counts the sequence, stamps the nonce, computes the checksums. Not thread-safe.</summary>
internal sealed class FrameWriter(IBufferWriter<byte> output)
{
    /// <summary>Number of the next frame.</summary>
    public ulong Sequence { get; private set; }

    /// <summary>Connection nonce stamped on frames; set once the handshake has agreed on it.</summary>
    public ulong Nonce { get; set; }

    /// <summary>Writes one frame. <paramref name="header"/> and <paramref name="payload"/> are copied.</summary>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">The frame is larger than the format can say.</exception>
    public long Write(FrameKind kind, ReadOnlySpan<byte> header, ReadOnlySpan<byte> payload)
    {
        long total = Frame.PrefixBytes + (long)header.Length + payload.Length;
        if (total > int.MaxValue)
        {
            throw new ArgumentException($"A frame of {total} bytes is too large.", nameof(payload));
        }

        WritePrefix(output.GetSpan(Frame.PrefixBytes), kind, header, payload, Sequence, Nonce);
        output.Advance(Frame.PrefixBytes);
        output.Write(header);
        output.Write(payload);
        Sequence++;
        return total;
    }

    /// <summary>Writes the prefix of a frame whose header and payload the caller sends after it.</summary>
    public static void WritePrefix(Span<byte> prefix, FrameKind kind, ReadOnlySpan<byte> header, ReadOnlySpan<byte> payload, ulong sequence, ulong nonce, byte minor = 0)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(prefix, Frame.Magic);
        prefix[4] = Frame.VersionMajor;
        prefix[5] = minor;
        prefix[6] = (byte)kind;
        prefix[7] = 0;
        BinaryPrimitives.WriteUInt32LittleEndian(prefix[8..], (uint)header.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(prefix[12..], (uint)payload.Length);
        BinaryPrimitives.WriteUInt64LittleEndian(prefix[16..], sequence);
        BinaryPrimitives.WriteUInt64LittleEndian(prefix[24..], nonce);
        BinaryPrimitives.WriteUInt32LittleEndian(prefix[32..], Crc32C.Compute(prefix[..32]));
        uint crc = Crc32C.Append(Crc32C.Start, prefix[..36]);
        crc = Crc32C.Append(Crc32C.Append(crc, header), payload);
        BinaryPrimitives.WriteUInt32LittleEndian(prefix[36..], Crc32C.Finish(crc));
    }
}
