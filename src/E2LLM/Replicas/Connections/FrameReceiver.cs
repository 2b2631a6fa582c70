using System.Buffers;
using System.IO.Pipelines;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>The receiving half of a connection: scans whole frames out of the stream and knows by when the next one is due.</summary>
internal sealed class FrameReceiver(Stream stream, ConnectionOptions options)
{
    private readonly PipeReader _reader = PipeReader.Create(stream, new StreamPipeReaderOptions(bufferSize: 64 << 10, minimumReadSize: 4 << 10, leaveOpen: true));
    private long _lastFrame;
    private long _pendingFrameBytes;
    private ulong _sequence;
    private long _offset;

    /// <summary>Stamp expected on the next frame.</summary>
    public ulong Nonce { get; set; }

    /// <summary>Starts the time in which the next frame is due.</summary>
    public void Restart() => Volatile.Write(ref _lastFrame, options.TimeProvider.GetTimestamp());

    /// <summary>Whether the peer is too late with its frame.</summary>
    /// <param name="allowed">How long it had.</param>
    public bool IsOverdue(out TimeSpan allowed)
    {
        allowed = options.PeerTimeout + TimeSpan.FromSeconds((double)Interlocked.Read(ref _pendingFrameBytes) / options.MinBytesPerSecond);
        return options.TimeProvider.GetElapsedTime(Volatile.Read(ref _lastFrame)) > allowed;
    }

    /// <summary>Hands frames to <paramref name="handler"/> until the peer closes the stream between two frames.</summary>
    /// <exception cref="KvTransferException">Bytes are damaged, or a frame is not the next one.</exception>
    /// <exception cref="EndOfStreamException">The stream ended inside a frame.</exception>
    public async Task RunAsync(FrameHandler handler, CancellationToken cancellationToken)
    {
        try
        {
            while (true)
            {
                ReadResult read = await _reader.ReadAsync(cancellationToken).ConfigureAwait(false);
                ReadOnlySequence<byte> rest = Consume(read.Buffer, handler);
                if (read.IsCompleted)
                {
                    if (!rest.IsEmpty)
                    {
                        throw new EndOfStreamException("The stream ended inside a frame.");
                    }

                    return;
                }

                _reader.AdvanceTo(rest.Start, rest.End);
            }
        }
        finally
        {
            await _reader.CompleteAsync().ConfigureAwait(false);
        }
    }

    private ReadOnlySequence<byte> Consume(ReadOnlySequence<byte> buffer, FrameHandler handler)
    {
        long pending;
        while (FrameScanner.TryScan(buffer, _offset, options.Limits, out Frame frame, out pending))
        {
            if (frame.Sequence != _sequence || frame.Nonce != Nonce)
            {
                bool nonce = frame.Nonce != Nonce;
                throw new KvTransferException(nonce ? "nonce" : "sequence", _offset + (nonce ? 24 : 16),
                    $"Expected frame {_sequence} of nonce {Nonce:X16}, found frame {frame.Sequence} of nonce {frame.Nonce:X16}.");
            }

            _sequence++;
            Interlocked.Exchange(ref _pendingFrameBytes, 0);
            if (Enum.IsDefined(frame.Kind))
            {
                handler(frame);
            }

            // Counted from when we are done with it: our own work is not the peer's silence.
            Restart();
            buffer = buffer.Slice(frame.TotalBytes);
            _offset += frame.TotalBytes;
        }

        Interlocked.Exchange(ref _pendingFrameBytes, pending);
        return buffer;
    }
}
