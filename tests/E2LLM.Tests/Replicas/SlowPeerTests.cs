using System.Buffers;
using E2LLM.Replicas;
using E2LLM.Replicas.Connections;
using E2LLM.Tests.Support;
using E2LLM.Transfer;

namespace E2LLM.Tests.Replicas;

/// <summary>Peers that are neither dead nor of any use.</summary>
public sealed class SlowPeerTests
{
    private const int FrameBytes = 1 << 20, MinRate = 64 << 10;

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
        using var stream = new FedStream(takesWrites: true);
        var connection = new PeerConnection(stream, "slow", new ConnectionOptions { TimeProvider = time, MinBytesPerSecond = MinRate });
        connection.Start((in Frame _) => Interlocked.Increment(ref received));
        connection.UseNonce(7);
        TimeSpan step = TimeSpan.FromSeconds(0.25);
        int stepBytes = bytesPerSecond / 4, sent = 0;
        double seconds = 0;
        while (sent < frame.Length && connection.Error is null)
        {
            int next = Math.Min(stepBytes, frame.Length - sent);
            await stream.FeedAsync(frame.AsMemory(sent, next));
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
}
