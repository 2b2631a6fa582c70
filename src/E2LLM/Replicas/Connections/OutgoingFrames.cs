using System.Collections.Concurrent;

namespace E2LLM.Replicas.Connections;

/// <summary>
/// Frames of one connection that wait to be sent, and their sending, by one thread at a time: one of the pool, or the one that asks for it. Where every processor computes, a
/// thread that must first be woken may wait for milliseconds, so who has something urgent sends it himself. Thread-safe.
/// </summary>
/// <param name="stream">Takes the bytes.</param>
/// <param name="options">Clock and bounds.</param>
/// <param name="onError">Called once per failed sending, and where the last frame was sent (null).</param>
internal sealed class OutgoingFrames(Stream stream, ConnectionOptions options, Action<Exception?> onError) : IAsyncDisposable
{
    private readonly ConcurrentQueue<OutgoingFrame> _queue = new();
    private readonly FrameSender _sender = new(stream, options.TimeProvider);
    private readonly SemaphoreSlim _turn = new(1);
    private readonly CancellationTokenSource _stop = new();
    private readonly Lock _gate = new();
    private TaskCompletionSource? _room;
    private long _queuedBytes;
    private long _sentFrames;
    private long _writeStarted;
    private bool _writing;
    private bool _closing;
    private bool _stopped;
    private ulong _nonce;

    /// <summary>Stamp on frames sent from now on; zero before the handshake is over.</summary>
    public ulong Nonce
    {
        get => Volatile.Read(ref _nonce);
        set => Volatile.Write(ref _nonce, value);
    }

    /// <summary>Bytes per second that the peer took lately; infinite while unknown.</summary>
    public double BytesPerSecond => _sender.BytesPerSecond;

    /// <summary>Frames sent so far.</summary>
    public long SentFrameCount => Interlocked.Read(ref _sentFrames);

    /// <summary>Whether a sending is under way.</summary>
    public bool IsSending => Volatile.Read(ref _writing);

    /// <summary>For how long the stream has taken no bytes of the sending that is under way.</summary>
    public TimeSpan StillFor => options.TimeProvider.GetElapsedTime(Volatile.Read(ref _writeStarted));

    /// <summary>Appends a frame; somebody must call <see cref="Send"/> or <see cref="SendHere"/> afterwards. Does nothing once the connection is over.</summary>
    public void Add(in OutgoingFrame frame)
    {
        if (Volatile.Read(ref _closing))
        {
            frame.Release();
            return;
        }

        Interlocked.Add(ref _queuedBytes, frame.TotalBytes);
        _queue.Enqueue(frame);
        if (Volatile.Read(ref _stopped))
        {
            Drop();
        }
    }

    /// <summary>Sends what waits, on a thread of the pool. Never blocks.</summary>
    public void Send()
    {
        if (_turn.Wait(0, CancellationToken.None))
        {
            ThreadPool.UnsafeQueueUserWorkItem(static frames => _ = frames.SendAllAsync(), this, preferLocal: false);
        }
    }

    /// <summary>
    /// Sends what waits on the calling thread, as far as the stream takes it at once; the rest follows by itself. Not to be called with a lock held: a stream may run its reader's code inside.
    /// </summary>
    public void SendHere()
    {
        if (_turn.Wait(0, CancellationToken.None))
        {
            _ = SendAllAsync();
        }
    }

    /// <summary>A sending that is under way got a new start: the process itself stood still.</summary>
    public void Restart() => Volatile.Write(ref _writeStarted, options.TimeProvider.GetTimestamp());

    /// <summary>Waits until less than <see cref="ConnectionOptions.SendQueueBytes"/> wait, or the connection is over.</summary>
    public async ValueTask WaitForRoomAsync(CancellationToken cancellationToken)
    {
        while (Interlocked.Read(ref _queuedBytes) >= options.SendQueueBytes && !Volatile.Read(ref _stopped))
        {
            TaskCompletionSource room;
            lock (_gate)
            {
                room = _room ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            }

            if (Interlocked.Read(ref _queuedBytes) < options.SendQueueBytes || Volatile.Read(ref _stopped))
            {
                return;
            }

            await room.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Takes no more frames; when those that wait are sent, the connection is told.</summary>
    public void CloseAfterSending()
    {
        Volatile.Write(ref _closing, true);

        // Seen by a sender that is about to give up the turn, or else we see that it is free: the turn is read without a lock.
        Interlocked.MemoryBarrier();
        Send();
    }

    /// <summary>Stops sending now; what waits is given up.</summary>
    public void Stop()
    {
        Volatile.Write(ref _closing, true);
        Volatile.Write(ref _stopped, true);
        try
        {
            _stop.Cancel();
        }
        finally
        {
            Drop();
            SetRoom();
        }
    }

    /// <summary>Ends when nobody sends any more. May be called again.</summary>
    public async ValueTask DisposeAsync()
    {
        Stop();

        // Whoever gets the turn after this finds nothing to send.
        await _turn.WaitAsync(CancellationToken.None).ConfigureAwait(false);
        _turn.Release();
        Drop();
    }

    /// <summary>Sends until nothing waits. The caller has the turn.</summary>
    private async Task SendAllAsync()
    {
        do
        {
            Exception? error = null;
            try
            {
                Restart();
                Volatile.Write(ref _writing, true);
                while (!Volatile.Read(ref _stopped) && _queue.TryDequeue(out OutgoingFrame frame))
                {
                    try
                    {
                        await _sender.WriteAsync(frame, Nonce, Restart, _stop.Token).ConfigureAwait(false);
                    }
                    finally
                    {
                        frame.Release();
                        MakeRoom(frame.TotalBytes);
                    }

                    Interlocked.Increment(ref _sentFrames);
                }

                await _sender.FlushAsync(Restart, _stop.Token).ConfigureAwait(false);
            }
            catch (Exception caught)
            {
                error = caught;
            }

            Volatile.Write(ref _writing, false);
            _turn.Release();
            if (error is not null || (Volatile.Read(ref _closing) && _queue.IsEmpty))
            {
                onError(error);
            }
        }
        while (!_queue.IsEmpty && !Volatile.Read(ref _stopped) && _turn.Wait(0, CancellationToken.None));
    }

    private void Drop()
    {
        while (_queue.TryDequeue(out OutgoingFrame frame))
        {
            frame.Release();
        }
    }

    private void MakeRoom(int bytes)
    {
        if (Interlocked.Add(ref _queuedBytes, -bytes) < options.SendQueueBytes)
        {
            SetRoom();
        }
    }

    private void SetRoom()
    {
        TaskCompletionSource? room;
        lock (_gate)
        {
            (room, _room) = (_room, null);
        }

        room?.TrySetResult();
    }
}
