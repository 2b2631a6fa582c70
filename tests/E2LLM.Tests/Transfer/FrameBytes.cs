using System.Buffers.Binary;
using E2LLM.Transfer;

namespace E2LLM.Tests.Transfer;

/// <summary>Takes messages apart into frames, and makes checksums right again after a change.</summary>
internal static class FrameBytes
{
    public static List<byte[]> Frames(byte[] message)
    {
        var frames = new List<byte[]>();
        for (int at = 0; at < message.Length;)
        {
            int bytes = Frame.PrefixBytes + BinaryPrimitives.ReadInt32LittleEndian(message.AsSpan(at + 8)) + BinaryPrimitives.ReadInt32LittleEndian(message.AsSpan(at + 12));
            frames.Add(message[at..(at + bytes)]);
            at += bytes;
        }

        return frames;
    }

    public static byte[] ResealPrefix(byte[] frame)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(frame.AsSpan(32), Crc32C.Compute(frame.AsSpan(0, 32)));
        return frame;
    }

    public static byte[] Reseal(byte[] frame)
    {
        byte[] copy = ResealPrefix(frame.ToArray());
        uint crc = Crc32C.Append(Crc32C.Append(Crc32C.Start, copy.AsSpan(0, 36)), copy.AsSpan(40));
        BinaryPrimitives.WriteUInt32LittleEndian(copy.AsSpan(36), Crc32C.Finish(crc));
        return copy;
    }

    /// <summary>The frame with another header and payload, given as one, and checksums that fit them.</summary>
    public static byte[] WithBody(byte[] frame, byte[] body, int headerBytes)
    {
        byte[] result = new byte[Frame.PrefixBytes + body.Length];
        FrameWriter.WritePrefix(
            result, (FrameKind)frame[6], body.AsSpan(0, headerBytes), body.AsSpan(headerBytes), BinaryPrimitives.ReadUInt64LittleEndian(frame.AsSpan(16)), BinaryPrimitives.ReadUInt64LittleEndian(frame.AsSpan(24)));
        body.CopyTo(result, Frame.PrefixBytes);
        return result;
    }

    public static byte[] Join(IEnumerable<byte[]> frames) => [.. frames.SelectMany(frame => frame)];
}
