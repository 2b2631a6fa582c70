using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Replicas.Stages;
using E2LLM.Samples;
using E2LLM.Transfer;
using E2LLM.Transfer.Codecs;

namespace E2LLM.Tests.Replicas;

/// <summary>Whether layer 0 is computed where it is needed or sent, where nobody said.</summary>
public sealed class FirstLayerChoiceTests
{
    /// <summary>100 tokens of 1,000 bytes in each of 4 layers over 1 MB/s: 0.4 s for all, 0.3 s without layer 0.</summary>
    [Theory]
    [InlineData(0.001, 0.0005, true)]
    [InlineData(0.001, 0.0009, true)]
    [InlineData(0.001, 0.0011, false)]
    [InlineData(0.0035, 0.0004, true)]
    [InlineData(0.0035, 0.0006, false)]
    [InlineData(0.0041, 0.0001, false)]
    public void Pays_ReadingAndComputing_IsWhatShortensTheWay(double readingSecondsPerToken, double computeSecondsPerToken, bool expected)
    {
        var chooser = new FirstLayerChooser();
        Assert.False(chooser.Pays(1, 100, 100));
        chooser.Sent(1, new FirstLayerChooser.Link(1e6, 1000, 4, readingSecondsPerToken));
        Assert.Equal(readingSecondsPerToken < 0.004, chooser.Pays(1, 100, 100));
        chooser.Computed(computeSecondsPerToken);
        Assert.Equal(expected, chooser.Pays(1, 100, 100));
        Assert.False(chooser.Pays(2, 100, 100));

        // What was kept need not be read, so less hides the way.
        Assert.Equal(computeSecondsPerToken < 0.001, chooser.Pays(1, 100, 0));
    }

    [Theory]
    [InlineData(1000, 0, "none, all, all")]
    [InlineData(1000, 3600, "none, all, none")]
    [InlineData(0, 0, "none, none, none")]
    [InlineData(1000, 0, "none, none, none", true)]
    public async Task Serve_NothingSaid_IsDecidedByWhatLinkAndComputingTook(int secondsPerWrite, int secondsPerPiece, string computed, bool lossy = false)
    {
        // Clocks of their own: at the sender a full write takes so long, at the receiver a piece of layer 0.
        var sender = new SteppingClock();
        var receiver = new SteppingClock { Step = TimeSpan.FromSeconds(secondsPerPiece) };
        await using var cluster = new MemoryCluster
        {
            ComputesFirstLayer = null,
            ChunkTokenCount = 400,
            Connections = new ConnectionOptions { PeerTimeout = TimeSpan.FromHours(1) },
            HostOptions = options => options with
            {
                Connections = options.Connections with { TimeProvider = options.Name == "d0" ? receiver : sender },

                // All at once, so that enough waits to be sent: small writes tell nothing of a link.
                SendsWhilePrefilling = false,
                CodecPolicy = lossy ? KvCodecPolicy.Always(QuantizedKvCodec.Int8) : KvCodecPolicy.Raw,
            },
            WrapBetween = (from, to, stream) => from == "p0" && to == "d0" ? new SlowWrites(stream, sender, TimeSpan.FromSeconds(secondsPerWrite)) : stream,
        };
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(new DispatcherOptions { NextTurnTokenCount = 0 }, cluster.Add("p", ReplicaRole.Prefill), cluster.Add("d", ReplicaRole.Decode)))
        {
            using var whole = new ToyExecutor(8, new LayerRange(0, 8));
            var seen = new List<string>();
            for (int i = 0; i < 3; i++)
            {
                int before = cluster.Toy("d0").FirstLayerTokenCount;
                ServingRequest request = DispatcherTests.Request(300, 3, salt: 5 * i);
                List<int> tokens = await DispatcherTests.CollectAsync(dispatcher.Serve(request));
                Assert.True(lossy || tokens.SequenceEqual(MemoryCluster.Reference(whole, request)));
                seen.Add((cluster.Toy("d0").FirstLayerTokenCount - before) switch { 0 => "none", 300 => "all", int some => $"{some}" });
            }

            Assert.Equal(computed, string.Join(", ", seen));
        }

        await cluster.AssertEmptyAsync();
    }

    /// <summary>A clock that stands still between what tests let happen.</summary>
    private sealed class SteppingClock : TimeProvider
    {
        private long _now;

        /// <summary>What each look at the clock takes.</summary>
        public TimeSpan Step { get; init; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Interlocked.Add(ref _now, Step.Ticks);

        public void Advance(TimeSpan time) => Interlocked.Add(ref _now, time.Ticks);
    }

    private sealed class SlowWrites(Stream inner, SteppingClock clock, TimeSpan each) : PassingStream(inner)
    {
        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await Task.Delay(20, cancellationToken);
            clock.Advance(each);
            await base.WriteAsync(buffer, cancellationToken);
        }
    }
}
