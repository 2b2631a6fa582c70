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
    private readonly Pace port, link;
    private readonly long latency;
    private readonly BlockingCollection<(byte[] Bytes, long Due)> queue = [];
    private readonly SemaphoreSlim sent = new(0);
    private readonly Task carrying;
    private int queuedBytes;
    private Exception? problem;

    public PacedStream(Stream inner, Pace port, Pace link, TimeSpan latency)
        : base(inner)
    {
        (this.port, this.link) = (port, link);
        this.latency = (long)(latency.TotalSeconds * Stopwatch.Frequency);
        carrying = Task.Factory.StartNew(Carry, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    public override int Read(byte[] buffer, int offset, int count) => Inner.Read(buffer, offset, count);

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        while (Volatile.Read(ref queuedBytes) > MaxQueuedBytes && problem is null)
        {
            await sent.WaitAsync(cancellationToken);
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
        if (disposing && !queue.IsAddingCompleted)
        {
            queue.CompleteAdding();
            carrying.Wait(DrainLimit);
        }

        base.Dispose(disposing);
    }

    private void Enqueue(ReadOnlySpan<byte> bytes)
    {
        if (problem is not null)
        {
            throw new IOException("The link is broken.", problem);
        }

        long now = Stopwatch.GetTimestamp();
        long due = Math.Max(port.Through(now, bytes.Length), link.Through(now, bytes.Length)) + latency;
        Interlocked.Add(ref queuedBytes, bytes.Length);
        queue.Add((bytes.ToArray(), due));
    }

    private void Carry()
    {
        try
        {
            foreach ((byte[] bytes, long due) in queue.GetConsumingEnumerable())
            {
                Deadline.Wait(due);
                Inner.Write(bytes);
                Interlocked.Add(ref queuedBytes, -bytes.Length);
                sent.Release();
            }
        }
        catch (Exception error) when (error is IOException or ObjectDisposedException)
        {
            problem = error;
            sent.Release();
        }
    }
}
