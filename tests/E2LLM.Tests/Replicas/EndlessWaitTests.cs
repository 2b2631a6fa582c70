using System.Buffers;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Samples;
using E2LLM.Transfer;

namespace E2LLM.Tests.Replicas;

/// <summary>Code of the host that heeds no token, or gives up by itself, holds nobody up; what nobody will confirm is not waited for.</summary>
public sealed class EndlessWaitTests
{
    private static readonly TimeSpan Guard = TimeSpan.FromSeconds(60);

    [Fact]
    public async Task Connect_ConnectorThatHeedsNoToken_IsLostInTimeAndItsLateStreamDisposed()
    {
        await using var cluster = new MemoryCluster { Connections = new ConnectionOptions { PeerTimeout = TimeSpan.FromMilliseconds(200) } };
        ReplicaPlan plan = cluster.Add("m", ReplicaRole.Mixed);
        var late = new TaskCompletionSource<Stream>();
        PeerLostException lost = await Assert.ThrowsAsync<PeerLostException>(() => Replica.ConnectAsync(plan, cluster.Model, (_, _) => new ValueTask<Stream>(late.Task), cluster.Options).WaitAsync(Guard));
        Assert.Equal(PeerLossReason.TimedOut, lost.Reason);
        var stream = new DisposedStream();
        late.SetResult(stream);
        await stream.Disposed.Task.WaitAsync(Guard);
    }

    [Fact]
    public async Task Connect_StageWhoseConnectorGivesUpByItself_IsALossAndNoSilence()
    {
        // A socket with a time limit of its own ends with a cancellation that nobody here asked for.
        await using var cluster = new MemoryCluster { HostOptions = options => options with { Connect = (_, _) => throw new TaskCanceledException("the socket's own limit") } };
        ReplicaPlan plan = cluster.Add("m", ReplicaRole.Mixed, 4);
        PeerLostException lost = await Assert.ThrowsAsync<PeerLostException>(() => Replica.ConnectAsync(plan, cluster.Model, cluster.ConnectAsync, cluster.Options).WaitAsync(Guard));
        Assert.Equal(("m1", 1), (lost.Peer, lost.StageIndex));
        Assert.Contains("own limit", lost.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Dispose_WhileThePlannerNeverAnswers_EndsEverything()
    {
        await using var cluster = new MemoryCluster();
        using var never = new ManualResetEventSlim();
        var asked = new TaskCompletionSource();
        Dispatcher dispatcher = await cluster.DispatchAsync(
            new DispatcherOptions
            {
                Replan = (_, _) =>
                {
                    asked.SetResult();
                    never.Wait(Guard, CancellationToken.None);
                    return ValueTask.FromResult<DeploymentPlan?>(null);
                },
            }, cluster.Add("m", ReplicaRole.Mixed));
        Task<List<int>> waiting = DispatcherTests.CollectAsync(dispatcher.Serve(DispatcherTests.Request(10, 3000)));
        cluster.Kill("m0");
        await asked.Task.WaitAsync(Guard);
        await dispatcher.DisposeAsync().AsTask().WaitAsync(Guard / 2);

        // By the loss, or by the disposal, whichever it saw first.
        Exception? ended = await Record.ExceptionAsync(() => waiting.WaitAsync(Guard / 2));
        Assert.True(ended is ObjectDisposedException or PeerLostException, $"{ended}");
        never.Set();
    }

    [Fact]
    public async Task Serve_CancelledWhileKeysAndValuesAreOnTheirWay_WithdrawsTheMessage()
    {
        GatedStream? link = null;
        await using var cluster = new MemoryCluster { WrapBetween = (from, to, stream) => from == "p0" && to == "d0" ? link = new GatedStream(stream) : stream };
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill), cluster.Add("d", ReplicaRole.Decode)))
        {
            using var source = new CancellationTokenSource();
            await using IAsyncEnumerator<int> tokens = dispatcher.Serve(DispatcherTests.Request(40, 10)).GetAsyncEnumerator(source.Token);
            Assert.True(await tokens.MoveNextAsync());
            ValueTask<bool> second = tokens.MoveNextAsync();
            await source.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await second);
            for (int i = 0; i < 500 && cluster["p0"].UsedKvBlockCount + cluster["d0"].UsedKvBlockCount > 0; i++)
            {
                await Task.Delay(10);
            }

            // The receiver no longer knows the sequence, so it will not confirm: without this frame both sides would keep the message for good.
            link!.Open.SetResult();
            for (int i = 0; i < 500 && !link.Kinds().Contains(FrameKind.SequenceClose); i++)
            {
                await Task.Delay(10);
            }

            Assert.Equal([FrameKind.Hello, FrameKind.KvBegin], link.Kinds().Take(2));
            Assert.Contains(FrameKind.SequenceClose, link.Kinds());
        }

        await cluster.AssertEmptyAsync();
    }

    private sealed class DisposedStream : MemoryStream
    {
        public TaskCompletionSource Disposed { get; } = new();

        protected override void Dispose(bool disposing)
        {
            Disposed.TrySetResult();
            base.Dispose(disposing);
        }
    }

    /// <summary>Lets the first write through, the handshake, and the others when it is opened; remembers all of them.</summary>
    private sealed class GatedStream(Stream inner) : PassingStream(inner)
    {
        private readonly MemoryStream _written = new();
        private int _writes;

        public TaskCompletionSource Open { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public List<FrameKind> Kinds()
        {
            var kinds = new List<FrameKind>();
            lock (_written)
            {
                var rest = new ReadOnlySequence<byte>(_written.ToArray());
                while (FrameScanner.TryScan(rest, 0, TransferLimits.Default, out Frame frame, out _))
                {
                    kinds.Add(frame.Kind);
                    rest = rest.Slice(frame.TotalBytes);
                }
            }

            return kinds;
        }

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (Interlocked.Increment(ref _writes) > 1)
            {
                await Open.Task.WaitAsync(cancellationToken);
            }

            lock (_written)
            {
                _written.Write(buffer.Span);
            }

            await base.WriteAsync(buffer, cancellationToken);
        }
    }
}
