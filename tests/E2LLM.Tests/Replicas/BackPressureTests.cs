using System.IO.Pipelines;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Replicas.Connections;
using E2LLM.Samples;
using E2LLM.Transfer;

namespace E2LLM.Tests.Replicas;

/// <summary>A driver that sends more than a stage works off, or does not read, costs the stage a bounded amount of memory.</summary>
public sealed class BackPressureTests
{
    private static readonly TimeSpan Guard = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task Serve_DriverSendsFasterThanTheStageWorks_IsReadAsItWorks()
    {
        const int Sent = 5000;
        await using var cluster = new MemoryCluster();
        ReplicaPlan plan = cluster.Add("a", ReplicaRole.Mixed);
        StageHost host = cluster["a0"];
        int answered = 0;
        var all = new TaskCompletionSource();
        var hello = new HelloMessage
        {
            Purpose = ConnectionPurpose.Driver, From = "hostile", To = "a0", Session = 5, Nonce = 0, Role = new StageRole(plan.Stages[0].Layers, true, true),
            ElementType = KvElementType.F32, Model = cluster.Model,
        };
        DialedPeer dialed = await DialedPeer.OpenAsync(cluster.ConnectAsync, hello, cluster.Connections, (in Frame _) =>
        {
            if (Interlocked.Increment(ref answered) == Sent)
            {
                all.SetResult();
            }
        }, CancellationToken.None);
        using var gate = new ManualResetEventSlim();
        host.Loop.Post(() => gate.Wait(Guard));
        try
        {
            for (int i = 0; i < Sent; i++)
            {
                dialed.Connection.Send(new SequenceCloseMessage((ulong)i + 1, []).ToFrame());
            }

            // The stage stands still: what it takes up stays within the bound, however long we look.
            for (int i = 0; i < 1000 && host.Loop.QueueLength <= FrameBacklog.MaxCount; i++)
            {
                await Task.Delay(10);
            }

            await Task.Delay(100);
            Assert.Equal(FrameBacklog.MaxCount + 1, host.Loop.QueueLength);
        }
        finally
        {
            // Whatever was found: the cluster's end waits for the stage's thread.
            gate.Set();
        }

        await all.Task.WaitAsync(Guard);
        await dialed.Connection.DisposeAsync();
        await cluster.AssertEmptyAsync();
    }

    [Fact]
    public async Task Receive_PeerDoesNotReadAnswers_IsNotReadFurther()
    {
        var options = new ConnectionOptions { SendQueueBytes = 8 << 10, PeerTimeout = TimeSpan.FromHours(1) };
        var incoming = new Pipe(new PipeOptions(pauseWriterThreshold: 0));
        var connection = new PeerConnection(new SilentTaker(incoming.Reader.AsStream()), "deaf", options);
        int handled = 0;
        connection.Bound(new FrameBacklog(long.MaxValue));
        connection.Start((in Frame frame) =>
        {
            handled++;
            connection.Send(new SequenceCloseMessage((ulong)handled, []).ToFrame());
        });
        connection.UseNonce(7);
        var frames = new FrameWriter(incoming.Writer) { Nonce = 7 };
        int frameBytes = new SequenceCloseMessage(1, []).ToFrame().TotalBytes, most = (options.SendQueueBytes / frameBytes) + (1 << 16) / frameBytes;
        for (int i = 0; i < 4 * most; i++)
        {
            frames.Write(FrameKind.Loaded, default, default);
        }

        await incoming.Writer.FlushAsync();
        for (int i = 0; i < 1000 && Volatile.Read(ref handled) < options.SendQueueBytes / frameBytes; i++)
        {
            await Task.Delay(10);
        }

        await Task.Delay(100);

        // One buffer of the sender and the queue behind it; not all that came.
        Assert.InRange(Volatile.Read(ref handled), options.SendQueueBytes / frameBytes, most + 2);
        await connection.DisposeAsync();
    }

    /// <summary>Delivers what comes, and takes no byte.</summary>
    private sealed class SilentTaker(Stream inner) : PassingStream(inner)
    {
        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
            await Task.Delay(Timeout.InfiniteTimeSpan, cancellationToken);
    }
}
