using System.Collections.Concurrent;
using System.Diagnostics;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>
/// A slow link in front of a fast stream: what is written arrives when port and link would have carried it, plus the latency. Reading is not slowed: the other side's writes are. Owns
/// the stream. One writer and one reader at a time.
/// </summary>
internal sealed class PacedStream : PassingStream
{
    // What a sender's socket buffer would hold: a writer that is further ahead waits.
    private const int MaxQueuedBytes = 256 << 10;
    private static readonly TimeSpan DrainLimit = TimeSpan.FromSeconds(2);
    private readonly Pace _port, _link;
    private readonly long _latency;
    private readonly BlockingCollection<(byte[] Bytes, long Due)> _queue = [];
    private readonly SemaphoreSlim _sent = new(0);
    private readonly Task _carrying;
    private int _queuedBytes;
    private Exception? _problem;

    public PacedStream(Stream inner, Pace port, Pace link, TimeSpan latency)
        : base(inner)
    {
        (_port, _link) = (port, link);
        _latency = (long)(latency.TotalSeconds * Stopwatch.Frequency);
        _carrying = Task.Factory.StartNew(Carry, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    public override int Read(byte[] buffer, int offset, int count) => Inner.Read(buffer, offset, count);

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (Volatile.Read(ref _queuedBytes) > MaxQueuedBytes && _problem is null)
        {
            await _sent.WaitAsync(cancellationToken);
        }

        Enqueue(buffer.Span);
    }

    public override void Write(byte[] buffer, int offset, int count) => Enqueue(buffer.AsSpan(offset, count));

    public override void Flush()
    {
        // Bytes go out when they are due.
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    protected override void Dispose(bool disposing)
    {
        if (disposing && !_queue.IsAddingCompleted)
        {
            _queue.CompleteAdding();
            _carrying.Wait(DrainLimit);
        }

        base.Dispose(disposing);
    }

    private void Enqueue(ReadOnlySpan<byte> bytes)
    {
        if (_problem is not null)
        {
            throw new IOException("The link is broken.", _problem);
        }

        long now = Stopwatch.GetTimestamp();
        long due = Math.Max(_port.Through(now, bytes.Length), _link.Through(now, bytes.Length)) + _latency;
        Interlocked.Add(ref _queuedBytes, bytes.Length);
        _queue.Add((bytes.ToArray(), due));
    }

    private void Carry()
    {
        try
        {
            foreach ((byte[] bytes, long due) in _queue.GetConsumingEnumerable())
            {
                Deadline.Wait(due);
                Inner.Write(bytes);
                Interlocked.Add(ref _queuedBytes, -bytes.Length);
                _sent.Release();
            }
        }
        catch (Exception error) when (error is IOException or ObjectDisposedException)
        {
            _problem = error;
            _sent.Release();
        }
    }
}
