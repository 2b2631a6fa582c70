using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>The sending half of a connection: joins small frames into one write and cuts large ones, so that progress can be watched.</summary>
internal sealed class FrameSender(Stream stream)
{
    private const int BufferBytes = 64 << 10;

    private readonly byte[] _buffer = new byte[BufferBytes];
    private int _used;
    private ulong _sequence;

    /// <summary>Takes a frame; some of its bytes may stay in the buffer until <see cref="FlushAsync"/>.</summary>
    public async ValueTask WriteAsync(OutgoingFrame frame, ulong nonce, Action progress, CancellationToken cancellationToken)
    {
        if (BufferBytes - _used < Frame.PrefixBytes)
        {
            await FlushAsync(progress, cancellationToken).ConfigureAwait(false);
        }

        // Hello, Welcome and Reject precede the agreement on a nonce.
        ulong stamp = frame.Kind is FrameKind.Hello or FrameKind.Welcome or FrameKind.Reject ? 0 : nonce;
        FrameWriter.WritePrefix(_buffer.AsSpan(_used), frame.Kind, frame.Header.Span, frame.Payload.Span, _sequence++, stamp);
        _used += Frame.PrefixBytes;
        await AppendAsync(frame.Header, progress, cancellationToken).ConfigureAwait(false);
        await AppendAsync(frame.Payload, progress, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Sends what is in the buffer.</summary>
    public async ValueTask FlushAsync(Action progress, CancellationToken cancellationToken)
    {
        if (_used > 0)
        {
            await stream.WriteAsync(_buffer.AsMemory(0, _used), cancellationToken).ConfigureAwait(false);
            await stream.FlushAsync(cancellationToken).ConfigureAwait(false);
            _used = 0;
            progress();
        }
    }

    private async ValueTask AppendAsync(ReadOnlyMemory<byte> bytes, Action progress, CancellationToken cancellationToken)
    {
        while (!bytes.IsEmpty)
        {
            if (_used == BufferBytes)
            {
                await FlushAsync(progress, cancellationToken).ConfigureAwait(false);
            }

            int count = Math.Min(bytes.Length, BufferBytes - _used);
            bytes[..count].CopyTo(_buffer.AsMemory(_used));
            _used += count;
            bytes = bytes[count..];
        }
    }
}
