using E2LLM.Diagnostics;
using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>
/// One watched connection: sends frames from a queue, hands received frames to a handler, beats, and notices when the peer is gone. Owns its
/// stream. Any failure ends it once, with a typed reason; <see cref="Completion"/> then runs to its end and nothing is left behind. Thread-safe.
/// </summary>
internal sealed class PeerConnection : IAsyncDisposable
{
    private readonly Stream _stream;
    private readonly ConnectionOptions _options;
    private readonly FrameReceiver _receiver;
    private readonly OutgoingFrames _outgoing;
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private readonly ITimer _watch;
    private FrameHandler _handler = Unexpected;
    private Exception? _error;
    private Task _completion = Task.CompletedTask;
    private long _sentAtLastBeat = -1;
    private long _lastWatch;

    /// <summary>Wraps a stream and owns it from now on; nothing happens before <see cref="Start"/>. The peer has this name until the handshake says it.</summary>
    public PeerConnection(Stream stream, string peer, ConnectionOptions options)
    {
        _stream = stream;
        _options = options;
        Peer = peer;
        _receiver = new FrameReceiver(stream, options);
        _outgoing = new OutgoingFrames(stream, options, error => Fail(error is null
            ? new ObjectDisposedException(nameof(PeerConnection)) : new PeerLostException(Peer, -1, PeerLossReason.Closed, error.Message, error)));
        _watch = options.TimeProvider.CreateTimer(static state => ((PeerConnection)state!).Watch(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Name of the device on the other side.</summary>
    public string Peer { get; set; }

    /// <summary>Ends when the connection is over and nothing is read or sent any more; never throws.</summary>
    public Task Completion => _completion;

    /// <summary>Bytes per second that the peer took lately; infinite while unknown.</summary>
    public double SentBytesPerSecond => _outgoing.BytesPerSecond;

    /// <summary>Cancelled when the connection is over.</summary>
    public CancellationToken Ended => _stop.Token;

    /// <summary>Why the connection is over; null while it is not.</summary>
    public Exception? Error
    {
        get
        {
            lock (_gate)
            {
                return _error;
            }
        }
    }

    /// <summary>Starts to read and to watch. <paramref name="handler"/> takes every frame but heartbeats.</summary>
    public void Start(FrameHandler handler)
    {
        _handler = handler;
        _receiver.Restart();
        TimeSpan period = _options.PeerTimeout / 4;
        _lastWatch = _options.TimeProvider.GetTimestamp();
        _watch.Change(period, period);
        _completion = RunAsync();
    }

    /// <summary>
    /// From now on the stream is read on only while the frames that wait in <paramref name="backlog"/>, and those that wait to be sent, are within their bounds: a peer that sends and does not read, or sends faster than we work, comes
    /// to rest. For whoever answers; two sides that both did this could wait for each other.
    /// </summary>
    public void Bound(FrameBacklog backlog) => _receiver.Rest = async ct =>
    {
        if (backlog.IsFull)
        {
            await backlog.WaitForRoomAsync(ct).ConfigureAwait(false);
        }

        await _outgoing.WaitForRoomAsync(ct).ConfigureAwait(false);
    };

    /// <summary>Changes who takes the frames; to be called from the current handler only.</summary>
    public void HandOver(FrameHandler handler) => _handler = handler;

    /// <summary>Stamps frames sent from now on and expects the stamp on those received from now on. Called between two frames of each direction.</summary>
    public void UseNonce(ulong nonce)
    {
        _outgoing.Nonce = nonce;
        _receiver.Nonce = nonce;
    }

    /// <summary>Queues a frame and has it sent. Never blocks; does nothing once the connection is over.</summary>
    public void Send(in OutgoingFrame frame)
    {
        _outgoing.Add(frame);
        _outgoing.Send();
    }

    /// <summary>Queues a frame without payload and has it sent.</summary>
    public void Send(FrameKind kind, HeaderWriter header) => Send(OutgoingFrame.WithoutPayload(kind, header.ToArray()));

    /// <summary>Queues a frame for a <see cref="SendHere()"/> that is sure to follow.</summary>
    public void Queue(in OutgoingFrame frame) => _outgoing.Add(frame);

    /// <inheritdoc cref="OutgoingFrames.SendHere"/>
    public void SendHere() => _outgoing.SendHere();

    /// <summary>Queues a frame and sends what is queued as <see cref="SendHere()"/> does.</summary>
    public void SendHere(in OutgoingFrame frame)
    {
        _outgoing.Add(frame);
        _outgoing.SendHere();
    }

    /// <summary>Queues a frame without payload and sends what is queued as <see cref="SendHere()"/> does.</summary>
    public void SendHere(FrameKind kind, HeaderWriter header) => SendHere(OutgoingFrame.WithoutPayload(kind, header.ToArray()));

    /// <inheritdoc cref="OutgoingFrames.WaitForRoomAsync"/>
    public ValueTask WaitForRoomAsync(CancellationToken cancellationToken) => _outgoing.WaitForRoomAsync(cancellationToken);

    /// <summary>Ends the connection after what is queued was sent, as far as the peer takes it.</summary>
    public void CloseAfterSending() => _outgoing.CloseAfterSending();

    /// <summary>Ends the connection now. Only the first reason counts.</summary>
    public void Fail(Exception error)
    {
        lock (_gate)
        {
            if (_error is not null)
            {
                return;
            }

            _error = error;
        }

        if (error is PeerLostException lost)
        {
            Telemetry.PeerLostCounter.Add(1, new(Telemetry.PeerTag, Peer), new(Telemetry.ReasonTag, lost.Reason.ToString()));
        }

        try
        {
            _outgoing.Stop();
            _stop.Cancel();
        }
        catch (AggregateException)
        {
            // The stream's own code threw when it was told: it is disposed next, and whoever waits for the end must not wait for ever.
        }
        finally
        {
            _ended.TrySetResult();
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        Fail(new ObjectDisposedException(nameof(PeerConnection)));
        await _completion.ConfigureAwait(false);
    }

    private static void Unexpected(in Frame frame) =>
        throw new KvTransferException("kind", frame.Offset + 6, $"Nobody expects a frame of kind {frame.Kind} here.");

    private async Task RunAsync()
    {
        // Off the caller's thread at once: a stream may complete synchronously for long.
        await Task.Yield();
        Task reading = ReadAsync();
        await _ended.Task.ConfigureAwait(false);
        await _watch.DisposeAsync().ConfigureAwait(false);
        try
        {
            // Some streams heed no token while a read is pending: disposing ends those too.
            await _stream.DisposeAsync().ConfigureAwait(false);
        }
        catch (Exception error) when (error is IOException or InvalidOperationException or OperationCanceledException)
        {
            // The stream is broken already, which is why we are here.
        }

        await Task.WhenAll(reading, _outgoing.DisposeAsync().AsTask()).ConfigureAwait(false);
    }

    private async Task ReadAsync()
    {
        try
        {
            await _receiver.RunAsync(Handle, _stop.Token).ConfigureAwait(false);
            Fail(new PeerLostException(Peer, -1, PeerLossReason.Closed, "it closed the connection."));
        }
        catch (KvTransferException error)
        {
            Fail(new PeerLostException(Peer, -1, PeerLossReason.Damaged, error.Message, error));
        }
        catch (Exception error)
        {
            Fail(new PeerLostException(Peer, -1, PeerLossReason.Closed, error.Message, error));
        }
    }

    private void Handle(in Frame frame)
    {
        if (frame.Kind != FrameKind.Heartbeat)
        {
            _handler(frame);
        }
    }

    /// <summary>Runs four times per <see cref="ConnectionOptions.PeerTimeout"/>.</summary>
    private void Watch()
    {
        TimeProvider clock = _options.TimeProvider;
        TimeSpan sinceLast = clock.GetElapsedTime(_lastWatch);
        _lastWatch = clock.GetTimestamp();
        if (sinceLast > _options.PeerTimeout / 2)
        {
            // This process itself stood still (suspended, starved, in a debugger): what came meanwhile is not read yet.
            _receiver.Restart();
            _outgoing.Restart();
        }

        if (_receiver.IsOverdue(out TimeSpan allowed))
        {
            var timeout = new TimeoutException($"No whole frame came within {allowed.TotalSeconds:0.###} s.");
            Fail(new PeerLostException(Peer, -1, PeerLossReason.TimedOut, timeout.Message, timeout));
        }
        else if (_outgoing.IsSending && _outgoing.StillFor > _options.PeerTimeout)
        {
            var timeout = new TimeoutException($"It took no bytes for {_options.PeerTimeout.TotalSeconds:0.###} s.");
            Fail(new PeerLostException(Peer, -1, PeerLossReason.TimedOut, timeout.Message, timeout));
        }
        else if (!_outgoing.IsSending && _outgoing.Nonce != 0)
        {
            // Only after the handshake: before it there is no nonce to stamp, and the handshake itself must come in time.
            long sent = _outgoing.SentFrameCount;
            if (sent == Interlocked.Exchange(ref _sentAtLastBeat, sent))
            {
                Send(OutgoingFrame.WithoutPayload(FrameKind.Heartbeat, []));
                Interlocked.Increment(ref _sentAtLastBeat);
            }
        }
    }
}
