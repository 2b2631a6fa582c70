using System.Threading.Channels;
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
    private readonly FrameSender _sender;
    private readonly Channel<OutgoingFrame> _outgoing = Channel.CreateUnbounded<OutgoingFrame>(new UnboundedChannelOptions { SingleReader = true });
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private readonly ITimer _watch;
    private FrameHandler _handler = Unexpected;
    private TaskCompletionSource? _room;
    private Exception? _error;
    private Task _completion = Task.CompletedTask;
    private long _queuedBytes;
    private long _sentFrames;
    private long _sentAtLastBeat = -1;
    private long _writeStarted;
    private long _lastWatch;
    private bool _writing;
    private ulong _nonce;

    /// <summary>Wraps a stream and owns it from now on; nothing happens before <see cref="Start"/>. The peer has this name until the handshake says it.</summary>
    public PeerConnection(Stream stream, string peer, ConnectionOptions options)
    {
        _stream = stream;
        _options = options;
        Peer = peer;
        _receiver = new FrameReceiver(stream, options);
        _sender = new FrameSender(stream, options.TimeProvider);
        _watch = options.TimeProvider.CreateTimer(static state => ((PeerConnection)state!).Watch(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Name of the device on the other side.</summary>
    public string Peer { get; set; }

    /// <summary>Ends when the connection is over and both its loops have stopped; never throws.</summary>
    public Task Completion => _completion;

    /// <summary>Bytes per second that the peer took lately; infinite while unknown.</summary>
    public double SentBytesPerSecond => _sender.BytesPerSecond;

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

    /// <summary>Starts both loops and the watch. <paramref name="handler"/> takes every frame but heartbeats.</summary>
    public void Start(FrameHandler handler)
    {
        _handler = handler;
        _receiver.Restart();
        TimeSpan period = _options.PeerTimeout / 4;
        _lastWatch = _options.TimeProvider.GetTimestamp();
        _watch.Change(period, period);
        _completion = RunAsync();
    }

    /// <summary>Changes who takes the frames; to be called from the current handler only.</summary>
    public void HandOver(FrameHandler handler) => _handler = handler;

    /// <summary>Stamps frames sent from now on and expects the stamp on those received from now on. Called between two frames of each direction.</summary>
    public void UseNonce(ulong nonce)
    {
        Volatile.Write(ref _nonce, nonce);
        _receiver.Nonce = nonce;
    }

    /// <summary>Queues a frame. Never blocks; does nothing once the connection is over.</summary>
    public void Send(in OutgoingFrame frame)
    {
        Interlocked.Add(ref _queuedBytes, frame.TotalBytes);
        if (!_outgoing.Writer.TryWrite(frame))
        {
            frame.Release();
        }
    }

    /// <summary>Queues a frame without payload.</summary>
    public void Send(FrameKind kind, HeaderWriter header) => Send(OutgoingFrame.WithoutPayload(kind, header.ToArray()));

    /// <summary>Waits until less than <see cref="ConnectionOptions.SendQueueBytes"/> are queued, or the connection is over.</summary>
    public async ValueTask WaitForRoomAsync(CancellationToken cancellationToken)
    {
        while (Interlocked.Read(ref _queuedBytes) >= _options.SendQueueBytes && !_stop.IsCancellationRequested)
        {
            TaskCompletionSource room;
            lock (_gate)
            {
                room = _room ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            }

            if (Interlocked.Read(ref _queuedBytes) < _options.SendQueueBytes || _stop.IsCancellationRequested)
            {
                return;
            }

            await room.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Ends the connection after what is queued was sent, as far as the peer takes it.</summary>
    public void CloseAfterSending() => _outgoing.Writer.TryComplete();

    /// <summary>Ends the connection now. Only the first reason counts.</summary>
    public void Fail(Exception error)
    {
        TaskCompletionSource? room;
        lock (_gate)
        {
            if (_error is not null)
            {
                return;
            }

            _error = error;
            (room, _room) = (_room, null);
        }

        if (error is PeerLostException lost)
        {
            Telemetry.PeerLostCounter.Add(1, new(Telemetry.PeerTag, Peer), new(Telemetry.ReasonTag, lost.Reason.ToString()));
        }

        _outgoing.Writer.TryComplete();
        _stop.Cancel();
        room?.TrySetResult();
        _ended.TrySetResult();
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
        Task writing = WriteAsync();
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

        await Task.WhenAll(reading, writing).ConfigureAwait(false);
        while (_outgoing.Reader.TryRead(out OutgoingFrame frame))
        {
            frame.Release();
        }
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

    private async Task WriteAsync()
    {
        try
        {
            ChannelReader<OutgoingFrame> reader = _outgoing.Reader;
            while (await reader.WaitToReadAsync(_stop.Token).ConfigureAwait(false))
            {
                Volatile.Write(ref _writeStarted, _options.TimeProvider.GetTimestamp());
                Volatile.Write(ref _writing, true);
                while (reader.TryRead(out OutgoingFrame frame))
                {
                    try
                    {
                        await _sender.WriteAsync(frame, Volatile.Read(ref _nonce), Progress, _stop.Token).ConfigureAwait(false);
                    }
                    finally
                    {
                        frame.Release();
                        MakeRoom(frame.TotalBytes);
                    }

                    Interlocked.Increment(ref _sentFrames);
                }

                await _sender.FlushAsync(Progress, _stop.Token).ConfigureAwait(false);
                Volatile.Write(ref _writing, false);
            }

            Fail(new ObjectDisposedException(nameof(PeerConnection)));
        }
        catch (Exception error)
        {
            Fail(new PeerLostException(Peer, -1, PeerLossReason.Closed, error.Message, error));
        }
    }

    private void Progress() => Volatile.Write(ref _writeStarted, _options.TimeProvider.GetTimestamp());

    private void MakeRoom(int bytes)
    {
        if (Interlocked.Add(ref _queuedBytes, -bytes) >= _options.SendQueueBytes)
        {
            return;
        }

        TaskCompletionSource? room;
        lock (_gate)
        {
            (room, _room) = (_room, null);
        }

        room?.TrySetResult();
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
            Progress();
        }

        if (_receiver.IsOverdue(out TimeSpan allowed))
        {
            var timeout = new TimeoutException($"No whole frame came within {allowed.TotalSeconds:0.###} s.");
            Fail(new PeerLostException(Peer, -1, PeerLossReason.TimedOut, timeout.Message, timeout));
        }
        else if (Volatile.Read(ref _writing) && clock.GetElapsedTime(Volatile.Read(ref _writeStarted)) > _options.PeerTimeout)
        {
            var timeout = new TimeoutException($"It took no bytes for {_options.PeerTimeout.TotalSeconds:0.###} s.");
            Fail(new PeerLostException(Peer, -1, PeerLossReason.TimedOut, timeout.Message, timeout));
        }
        else if (!Volatile.Read(ref _writing) && Volatile.Read(ref _nonce) != 0)
        {
            // Only after the handshake: before it there is no nonce to stamp, and the handshake itself must come in time.
            long sent = Interlocked.Read(ref _sentFrames);
            if (sent == Interlocked.Exchange(ref _sentAtLastBeat, sent))
            {
                Send(OutgoingFrame.WithoutPayload(FrameKind.Heartbeat, []));
                Interlocked.Increment(ref _sentAtLastBeat);
            }
        }
    }
}
