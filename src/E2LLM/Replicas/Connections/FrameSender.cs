using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>The sending half of a connection: joins small frames into one write and cuts large ones, so that progress can be watched.</summary>
internal sealed class FrameSender(Stream stream, TimeProvider clock)
{
    private const int BufferBytes = 64 << 10;

    /// <summary>About so much of the past counts for the rate.</summary>
    private const double WindowBytes = 8 << 20;

    private readonly byte[] _buffer = new byte[BufferBytes];
    private int _used;
    private ulong _sequence;
    private double _seconds;
    private double _bytes;
    private double _bytesPerSecond = double.PositiveInfinity;

    /// <summary>
    /// Bytes per second that the stream took lately while there was enough to send: only full buffers count, for small writes tell the latency. Infinite before the first. From any thread.
    /// </summary>
    public double BytesPerSecond => Volatile.Read(ref _bytesPerSecond);

    /// <summary>Takes a frame; some of its bytes may stay in the buffer until <see cref="FlushAsync"/>.</summary>
    public async ValueTask WriteAsync(OutgoingFrame frame, ulong nonce, Action progress, CancellationToken cancellationToken)
    {
        if (BufferBytes - _used < Frame.PrefixBytes)
        {
            await FlushAsync(progress, cancellationToken).ConfigureAwait(false);
        }

        // Hello, Welcome and Reject precede the agreement on a nonce.
        ulong stamp = frame.Kind is FrameKind.Hello or FrameKind.Welcome or FrameKind.Reject ? 0 : nonce;
        FrameWriter.WritePrefix(_buffer.AsSpan(_used), frame.Kind, frame.Header.Span, frame.Payload.Span, _sequence++, stamp, frame.Minor);
        _used += Frame.PrefixBytes;
        await AppendAsync(frame.Header, progress, cancellationToken).ConfigureAwait(false);
        await AppendAsync(frame.Payload, progress, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Sends what is in the buffer.</summary>
    public async ValueTask FlushAsync(Action progress, CancellationToken cancellationToken)
    {
        if (_used > 0)
        {
            long start = clock.GetTimestamp();
            await stream.WriteAsync(_buffer.AsMemory(0, _used), cancellationToken).ConfigureAwait(false);
            await stream.FlushAsync(cancellationToken).ConfigureAwait(false);
            Measure(clock.GetElapsedTime(start).TotalSeconds);
            _used = 0;
            progress();
        }
    }

    private void Measure(double seconds)
    {
        if (_used < BufferBytes)
        {
            return;
        }

        if (_bytes > WindowBytes)
        {
            (_bytes, _seconds) = (_bytes / 2, _seconds / 2);
        }

        _bytes += _used;
        _seconds += seconds;
        Volatile.Write(ref _bytesPerSecond, _seconds > 0 ? _bytes / _seconds : double.PositiveInfinity);
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
