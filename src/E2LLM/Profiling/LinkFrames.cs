using System.Buffers.Binary;

namespace E2LLM.Profiling;

/// <summary>What a frame of the link protocol asks for.</summary>
internal enum LinkFrameKind : byte
{
    Echo = 1,
    Take = 2,
    Give = 3,
    End = 4,
}

/// <summary>Reads and writes frames of <see cref="LinkProfiler"/>'s protocol, and payloads whose content nobody looks at. Borrows the stream; not thread-safe.</summary>
internal sealed class LinkFrames(Stream stream)
{
    public const int HeaderBytes = 16;
    private const uint Magic = 0x504C3245; // "E2LP" in little-endian order
    private const int PieceBytes = 64 << 10;
    private readonly byte[] _header = new byte[HeaderBytes];
    private readonly byte[] _piece = NewPiece();

    /// <summary>Sends a header and <paramref name="payloadBytes"/> of payload, and flushes.</summary>
    public async Task SendAsync(LinkFrameKind kind, long length, long payloadBytes, CancellationToken ct)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(_header, Magic);
        BinaryPrimitives.WriteUInt32LittleEndian(_header.AsSpan(4), (uint)kind);
        BinaryPrimitives.WriteInt64LittleEndian(_header.AsSpan(8), length);
        try
        {
            await stream.WriteAsync(_header, ct).ConfigureAwait(false);
            for (long left = payloadBytes; left > 0; left -= PieceBytes)
            {
                await stream.WriteAsync(_piece.AsMemory(0, (int)Math.Min(left, PieceBytes)), ct).ConfigureAwait(false);
            }

            await stream.FlushAsync(ct).ConfigureAwait(false);
        }
        catch (IOException error)
        {
            throw new LinkProfilerException(LinkProfilerFailure.Closed, $"The stream broke while a frame was sent: {error.Message}", error);
        }
    }

    /// <summary>Reads one header; null where the stream ends before it and <paramref name="mayEnd"/> allows that.</summary>
    public async Task<(LinkFrameKind Kind, long Length)?> ReceiveAsync(bool mayEnd, CancellationToken ct)
    {
        int got = await ReadAsync(_header, ct).ConfigureAwait(false);
        if (got == 0 && mayEnd)
        {
            return null;
        }

        if (got < HeaderBytes)
        {
            throw new LinkProfilerException(LinkProfilerFailure.Closed, $"The stream ended after {got} of the {HeaderBytes} bytes of a frame's header.");
        }

        uint magic = BinaryPrimitives.ReadUInt32LittleEndian(_header), kind = BinaryPrimitives.ReadUInt32LittleEndian(_header.AsSpan(4));
        long length = BinaryPrimitives.ReadInt64LittleEndian(_header.AsSpan(8));
        if (magic != Magic || kind is < (uint)LinkFrameKind.Echo or > (uint)LinkFrameKind.End || length < 0)
        {
            throw new LinkProfilerException(
                LinkProfilerFailure.Damaged, $"No frame of the link protocol: magic {magic:x8} (expected {Magic:x8}), kind {kind} (1 to 4), length {length} (0 or more).");
        }

        return ((LinkFrameKind)kind, length);
    }

    /// <summary>Reads and drops <paramref name="bytes"/> of payload.</summary>
    public async Task SkipAsync(long bytes, CancellationToken ct)
    {
        for (long left = bytes; left > 0;)
        {
            int got = await ReadAsync(_piece.AsMemory(0, (int)Math.Min(left, PieceBytes)), ct).ConfigureAwait(false);
            left -= got;
            if (got == 0)
            {
                throw new LinkProfilerException(LinkProfilerFailure.Closed, $"The stream ended after {bytes - left} of {bytes} payload bytes.");
            }
        }
    }

    /// <summary>Fills the buffer as far as the stream goes.</summary>
    private async Task<int> ReadAsync(Memory<byte> buffer, CancellationToken ct)
    {
        try
        {
            return await stream.ReadAtLeastAsync(buffer, buffer.Length, throwOnEndOfStream: false, ct).ConfigureAwait(false);
        }
        catch (IOException error)
        {
            throw new LinkProfilerException(LinkProfilerFailure.Closed, $"The stream broke while a frame was read: {error.Message}", error);
        }
    }

    // Bytes that no link compresses well: a linear congruential sequence (Numerical Recipes' constants), its upper bits.
    private static byte[] NewPiece()
    {
        var bytes = new byte[PieceBytes];
        uint state = 1;
        for (int i = 0; i < bytes.Length; i++)
        {
            state = (state * 1664525) + 1013904223;
            bytes[i] = (byte)(state >> 24);
        }

        return bytes;
    }
}
