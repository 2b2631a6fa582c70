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
    private volatile bool _resting;

    /// <summary>Stamp expected on the next frame.</summary>
    public ulong Nonce { get; set; }

    /// <summary>Waits until another frame may be taken; null takes them as they come. Called after each frame.</summary>
    public Func<CancellationToken, Task>? Rest { get; set; }

    /// <summary>Starts the time in which the next frame is due.</summary>
    public void Restart() => Volatile.Write(ref _lastFrame, options.TimeProvider.GetTimestamp());

    /// <summary>Whether the peer is too late with its frame. While we rest it is not: what it sends meanwhile is not read.</summary>
    /// <param name="allowed">How long it had.</param>
    public bool IsOverdue(out TimeSpan allowed)
    {
        allowed = options.PeerTimeout + TimeSpan.FromSeconds((double)Interlocked.Read(ref _pendingFrameBytes) / options.MinBytesPerSecond);
        return !_resting && options.TimeProvider.GetElapsedTime(Volatile.Read(ref _lastFrame)) > allowed;
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
                ReadOnlySequence<byte> rest = read.Buffer;
                while (TryTake(ref rest, handler))
                {
                    await RestAsync(cancellationToken).ConfigureAwait(false);
                }

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

    private async ValueTask RestAsync(CancellationToken cancellationToken)
    {
        if (Rest?.Invoke(cancellationToken) is { IsCompletedSuccessfully: false } resting)
        {
            _resting = true;
            await resting.ConfigureAwait(false);
            Restart();
            _resting = false;
        }
    }

    /// <summary>Hands on the first frame of a buffer and takes it off, if it is whole.</summary>
    private bool TryTake(ref ReadOnlySequence<byte> buffer, FrameHandler handler)
    {
        if (!FrameScanner.TryScan(buffer, _offset, options.Limits, out Frame frame, out long pending))
        {
            Interlocked.Exchange(ref _pendingFrameBytes, pending);
            return false;
        }

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
        return true;
    }
}
