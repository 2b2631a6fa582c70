using System.Buffers;
using System.Threading.Channels;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Replicas.Connections;
using E2LLM.Samples;
using E2LLM.Tests.Support;
using E2LLM.Transfer;

namespace E2LLM.Tests.Replicas;

/// <summary>Peers that are neither dead nor of any use.</summary>
public sealed class SlowPeerTests
{
    private const int FrameBytes = 1 << 20, MinRate = 64 << 10;
    private static readonly TimeSpan Guard = TimeSpan.FromSeconds(20);

    /// <summary>A frame of a megabyte may take 5 s and 16 s more; whoever sends it at half the rate is lost then, and not before.</summary>
    [Theory]
    [InlineData(MinRate / 2, 21), InlineData(MinRate, 0), InlineData(MinRate * 2, 0)]
    public async Task Receive_LargeFrameThatTrickles_IsLostBelowTheMinimumRate(int bytesPerSecond, int lostAfterSeconds)
    {
        var time = new ManualTime();
        var output = new ArrayBufferWriter<byte>();
        new FrameWriter(output) { Nonce = 7 }.Write(FrameKind.KvSlice, default, new byte[FrameBytes]);
        byte[] frame = output.WrittenSpan.ToArray();
        int received = 0;
        using var stream = new FedStream();
        var connection = new PeerConnection(stream, "slow", new ConnectionOptions { TimeProvider = time, MinBytesPerSecond = MinRate });
        connection.Start((in Frame _) => Interlocked.Increment(ref received));
        connection.UseNonce(7);
        TimeSpan step = TimeSpan.FromSeconds(0.25);
        int stepBytes = bytesPerSecond / 4, sent = 0;
        double seconds = 0;
        while (sent < frame.Length && connection.Error is null)
        {
            int next = Math.Min(stepBytes, frame.Length - sent);
            for (int at = 0; at < next; at += FedStream.PieceBytes)
            {
                await stream.FeedAsync(frame.AsMemory(sent + at, Math.Min(FedStream.PieceBytes, next - at)));
            }

            sent += next;
            time.Advance(step);
            seconds += step.TotalSeconds;
        }

        if (lostAfterSeconds == 0)
        {
            Assert.Null(connection.Error);
            Assert.Equal(1, received);
        }
        else
        {
            // The watch looks four times per timeout.
            Assert.InRange(seconds, lostAfterSeconds, lostAfterSeconds + 1.5);
            PeerLostException lost = Assert.IsType<PeerLostException>(connection.Error);
            Assert.Equal((PeerLossReason.TimedOut, 0), (lost.Reason, received));
            Assert.IsType<TimeoutException>(lost.InnerException);
        }

        await connection.DisposeAsync();
    }

    [Fact]
    public async Task Serve_DecodeStageThatReadsNothing_HoldsUpOnlyWhatIsMeantForIt()
    {
        var time = new ManualTime();
        var deaf = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var cluster = new MemoryCluster
        {
            Connections = new ConnectionOptions { PeerTimeout = TimeSpan.FromSeconds(5), TimeProvider = time },
            WrapBetween = (from, to, stream) => (from, to) == ("p0", "d0") ? new DeafStream(stream, deaf) : stream,
        };
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill), cluster.Add("d", ReplicaRole.Decode)))
        {
            using var whole = new ToyExecutor(8, new LayerRange(0, 8));
            ServingRequest stuck = DispatcherTests.Request(200, 10);
            ServedRequest served = dispatcher.Serve(stuck);
            Task<List<int>> waiting = DispatcherTests.CollectAsync(served);
            await deaf.Task.WaitAsync(Guard);

            // No time passes: the first request waits for the deaf stage, and nobody else does on the way to another one.
            dispatcher.Add(await Replica.ConnectAsync(cluster.Add("e", ReplicaRole.Decode) with { DecodeTokensPerSecond = 1000 }, cluster.Model, cluster.ConnectAsync, cluster.Options));
            for (int i = 0; i < 3; i++)
            {
                ServingRequest other = DispatcherTests.Request(90, 30, salt: 4 + i);
                ServedRequest quick = dispatcher.Serve(other);
                Assert.Equal(MemoryCluster.Reference(whole, other), await DispatcherTests.CollectAsync(quick));
                Assert.Equal(("p", "e", 0), (quick.Report.PrefillReplica, quick.Report.DecodeReplica, quick.Report.RecoveryCount));
            }

            Assert.False(waiting.IsCompleted);
            for (int i = 0; i < 1000 && !waiting.IsCompleted; i++)
            {
                time.Advance(TimeSpan.FromMilliseconds(250));
                await Task.WhenAny(waiting, Task.Delay(20));
            }

            Assert.Equal(MemoryCluster.Reference(whole, stuck), await waiting.WaitAsync(Guard));
            Assert.Equal((1, "e"), (served.Report.RecoveryCount, served.Report.DecodeReplica));
        }

        await cluster.AssertEmptyAsync();
    }

    /// <summary>Delivers what it is fed; feeding ends when the reader asks for more, so that nothing depends on when threads run.</summary>
    private sealed class FedStream() : PassingStream(Null)
    {
        public const int PieceBytes = 4096;
        private readonly Channel<ReadOnlyMemory<byte>> _pieces = Channel.CreateUnbounded<ReadOnlyMemory<byte>>();
        private readonly SemaphoreSlim _asked = new(0);

        public async Task FeedAsync(ReadOnlyMemory<byte> piece)
        {
            await _asked.WaitAsync(Guard);
            _pieces.Writer.TryWrite(piece);
            await _asked.WaitAsync(Guard);
            _asked.Release();
        }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            _asked.Release();
            ReadOnlyMemory<byte> piece = await _pieces.Reader.ReadAsync(cancellationToken);
            piece.CopyTo(buffer);
            return piece.Length;
        }
    }

    /// <summary>Takes a handshake, and then nothing more.</summary>
    private sealed class DeafStream(Stream inner, TaskCompletionSource stuck) : PassingStream(inner)
    {
        private int _writes;

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_writes++ > 0)
            {
                stuck.TrySetResult();
                await Task.Delay(Timeout.InfiniteTimeSpan, cancellationToken);
            }

            await base.WriteAsync(buffer, cancellationToken);
        }
    }
}
