using System.IO.Pipelines;
using E2LLM.Samples;

namespace E2LLM.Tests.Support;

/// <summary>One end of a simulated connection. What the other end wrote lies in a queue until it is due, then in a pipe until it is read.</summary>
internal sealed class SimulatedStream(SimulatedNetwork network, string device, string other) : PassingStream(Null)
{
    /// <summary>Bytes under way at most before a writer waits, as a socket's buffers would have it.</summary>
    private const int WindowBytes = 64 << 10;

    private readonly Lock _gate = new();
    private readonly Queue<(byte[]? Bytes, TimeSpan Due)> _underWay = new();
    private readonly Pipe _arrived = new(new PipeOptions(pauseWriterThreshold: 0, useSynchronizationContext: false));
    private readonly CancellationTokenSource _reset = new();
    private TaskCompletionSource _room = NewRoom();
    private TimeSpan _lastDue;
    private TimeSpan _busyUntil;
    private long _underWayBytes;
    private bool _isClosed;

    /// <summary>Device at this end.</summary>
    public string Device => device;

    /// <summary>Device at the other end.</summary>
    public string Other => other;

    public SimulatedStream Peer { get; set; } = null!;

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _reset.Token);
        try
        {
            ReadResult read = await _arrived.Reader.ReadAsync(either.Token);
            int count = (int)Math.Min(read.Buffer.Length, buffer.Length);
            System.Buffers.BuffersExtensions.CopyTo(read.Buffer.Slice(0, count), buffer.Span);
            _arrived.Reader.AdvanceTo(read.Buffer.GetPosition(count));
            return count;
        }
        catch (OperationCanceledException) when (_reset.IsCancellationRequested)
        {
            throw new IOException("Connection reset by peer.");
        }
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _reset.Token);
        try
        {
            either.Token.ThrowIfCancellationRequested();
            await Peer.TakeAsync(buffer.ToArray(), either.Token);
        }
        catch (OperationCanceledException) when (_reset.IsCancellationRequested)
        {
            throw new IOException("Connection reset by peer.");
        }
    }

    /// <summary>Loses what is under way to this end, and lets it know of the break after <paramref name="delay"/> unless nothing reaches it.</summary>
    public void Reset(TimeSpan delay)
    {
        lock (_gate)
        {
            _underWay.Clear();
        }

        network.At(network.Now + delay, () =>
        {
            if (!network.IsCut(other, device))
            {
                _reset.Cancel();
            }
        });
    }

    /// <summary>Moves what is due from the queue to the reader.</summary>
    public void DeliverDue()
    {
        lock (_gate)
        {
            while (!network.IsCut(other, device) && _underWay.TryPeek(out (byte[]? Bytes, TimeSpan Due) next) && next.Due <= network.Now)
            {
                _underWay.Dequeue();
                if (next.Bytes is null)
                {
                    _arrived.Writer.Complete();
                    continue;
                }

                _underWayBytes -= next.Bytes.Length;
                if (!_isClosed)
                {
                    _arrived.Writer.WriteAsync(next.Bytes).AsTask().Wait();
                }
            }

            if (_underWayBytes < WindowBytes)
            {
                _room.TrySetResult();
            }
        }
    }

    protected override void Dispose(bool disposing)
    {
        lock (_gate)
        {
            if (_isClosed)
            {
                return;
            }

            _isClosed = true;
        }

        network.Forget(this);
        _reset.Cancel();
        Peer.Enqueue(null);
        base.Dispose(disposing);
    }

    private static TaskCompletionSource NewRoom() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private async Task TakeAsync(byte[] bytes, CancellationToken cancellationToken)
    {
        Enqueue(bytes);
        while (true)
        {
            Task room;
            lock (_gate)
            {
                if (_underWayBytes < WindowBytes)
                {
                    return;
                }

                _room = _room.Task.IsCompleted ? NewRoom() : _room;
                room = _room.Task;
            }

            await room.WaitAsync(cancellationToken);
        }
    }

    private void Enqueue(byte[]? bytes)
    {
        TimeSpan due;
        lock (_gate)
        {
            TimeSpan now = network.Now;
            _busyUntil = (_busyUntil > now ? _busyUntil : now) + TimeSpan.FromSeconds((bytes?.Length ?? 0) / network.BytesPerSecond);
            due = _busyUntil + network.Delay();
            _lastDue = due = due > _lastDue ? due : _lastDue;
            _underWayBytes += bytes?.Length ?? 0;
            _underWay.Enqueue((bytes, due));
        }

        network.At(due, DeliverDue);
    }
}
