using System.Collections.Concurrent;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Replicas.Connections;
using E2LLM.Replicas.Recovery;
using E2LLM.Replicas.Stages;
using E2LLM.Samples;
using E2LLM.Sampling;

namespace E2LLM.Tests.Replicas;

/// <summary>Devices that are back before they know that they were gone, and paths that break while both their ends live.</summary>
public sealed class ReturningDeviceTests
{
    private static readonly ServingRequest Request = DispatcherTests.Request(50, 24, new SamplingOptions { Temperature = 0.7f, Seed = 9 });

    [Fact]
    public async Task TakeUp_DeviceThatStillHoldsTheOldSession_GivesItsMemoryToTheNewOneAtOnce()
    {
        // Room for one sequence: were the old session's still there, the new one would find the pool full.
        await using var cluster = new MemoryCluster();
        cluster.AddIdle("a", layers => Toy(layers, blocks: 2));
        var streams = new ConcurrentBag<OneSidedStream>();
        cluster.Wrap = (_, stream) =>
        {
            var wrapped = new OneSidedStream(stream);
            streams.Add(wrapped);
            return wrapped;
        };
        DeploymentPlan plan = ReplanTests.Plan(ReplanTests.Replica("m", ReplicaRole.Mixed, ("a", 8)));
        await using (Dispatcher dispatcher = await Dispatcher.ConnectAsync(
            plan, cluster.Model, cluster.ConnectAsync, cluster.Options, new DispatcherOptions { Replan = (_, _) => ValueTask.FromResult<DeploymentPlan?>(plan) }))
        {
            var tokens = new List<int>();
            ServedRequest served = dispatcher.Serve(Request);
            await foreach (int token in served)
            {
                tokens.Add(token);
                if (tokens.Count == 5)
                {
                    // The dispatcher loses the device; the device hears nothing of it.
                    foreach (OneSidedStream stream in streams)
                    {
                        stream.Break();
                    }
                }
            }

            Assert.Equal(Expected(Request), tokens);
            Assert.Equal((1, 1), (served.Report.RecoveryCount, cluster["a"].SessionCount));
        }
    }

    [Fact]
    public async Task Hello_ForASessionThatEnded_IsRefusedWhateverItWants()
    {
        await using var cluster = new MemoryCluster();
        ReplicaPlan plan = cluster.Add("a", ReplicaRole.Mixed, 4);
        ulong session;
        await using (Replica replica = await Replica.ConnectAsync(plan, cluster.Model, cluster.ConnectAsync, cluster.Options))
        {
            session = replica.Session;
            await Open(ConnectionPurpose.KeysValues);
        }

        await cluster.AssertEmptyAsync();
        foreach (ConnectionPurpose purpose in new[] { ConnectionPurpose.Chain, ConnectionPurpose.KeysValues })
        {
            HandshakeRejectedException thrown = await Assert.ThrowsAsync<HandshakeRejectedException>(() => Open(purpose));
            Assert.Contains("the session does not exist here", thrown.Message, StringComparison.Ordinal);
        }

        async Task Open(ConnectionPurpose purpose)
        {
            var hello = new HelloMessage
            {
                Purpose = purpose, From = "x", To = "a1", Session = session, Nonce = 0, Role = new StageRole(new LayerRange(4, 8), false, true), ElementType = KvElementType.F32, Model = cluster.Model,
            };
            DialedPeer peer = await DialedPeer.OpenAsync(cluster.ConnectAsync, hello, cluster.Connections, (in E2LLM.Transfer.Frame _) => { }, CancellationToken.None);
            await peer.Connection.DisposeAsync();
        }
    }

    [Theory]
    [InlineData("p1", "d1", true), InlineData("p1", "d1", false), InlineData("p0", "d0", true)]
    public async Task Serve_PathBetweenTwoReplicasThatBreaksAgainAndAgain_IsLeftAlone(string from, string to, bool hasOthers)
    {
        // Both devices live for the dispatcher: only what one sends to the other never arrives.
        await using var cluster = new MemoryCluster { WrapBetween = (source, target, stream) => (source, target) == (from, to) ? new BrokenLaterStream(stream) : stream };
        ReplicaPlan[] plans = [cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("d", ReplicaRole.Decode, 4)];
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(hasOthers ? [.. plans, cluster.Add("q", ReplicaRole.Prefill), cluster.Add("e", ReplicaRole.Decode)] : plans))
        {
            ServedRequest served = dispatcher.Serve(Request);
            Assert.Equal(Expected(Request), await DispatcherTests.CollectAsync(served));
            Assert.Equal(1, served.Report.RecoveryCount);
            Assert.Equal(hasOthers ? 4 : 2, dispatcher.Replicas.Count);
        }

        await cluster.AssertEmptyAsync();
    }

    [Fact]
    public void SessionNumber_OfANewerPlan_SupersedesOlderOnesOfItsDispatcherAlone()
    {
        const ulong mine = 0xABCD_EF01_2345_6789, theirs = 0xABCD_EF02_2345_6789;
        ulong first = SessionNumber.Of(mine, 0, 0), second = SessionNumber.Of(mine, 1, 0);
        Assert.True(SessionNumber.IsSuperseded(first, second));
        Assert.False(SessionNumber.IsSuperseded(second, first));
        Assert.False(SessionNumber.IsSuperseded(first, first));
        Assert.False(SessionNumber.IsSuperseded(SessionNumber.Of(mine, 1, 4095), SessionNumber.Of(mine, 1, 7)));
        Assert.False(SessionNumber.IsSuperseded(SessionNumber.Of(mine, 1, 7), SessionNumber.Of(mine, 1, 4095)));
        Assert.False(SessionNumber.IsSuperseded(first, SessionNumber.Of(theirs, 9, 0)));

        // Where the bits do not suffice numbers are random, and supersede nothing.
        Assert.NotEqual(mine >> 32, SessionNumber.Of(mine, 1 << 20, 0) >> 32);
        Assert.NotEqual(mine >> 32, SessionNumber.Of(mine, 0, 1 << 12) >> 32);
    }

    private static LoadedStage Toy(LayerRange layers, int blocks)
    {
        var toy = new ToyExecutor(8, layers, blocks);
        return new LoadedStage(toy, toy);
    }

    private static List<int> Expected(ServingRequest request)
    {
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        return MemoryCluster.Reference(whole, request);
    }

    /// <summary>Breaks for this side alone: the other one hears neither the break nor the end.</summary>
    private sealed class OneSidedStream(Stream inner) : PassingStream(inner)
    {
        private readonly CancellationTokenSource _broken = new();

        public void Break() => _broken.Cancel();

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _broken.Token);
            try
            {
                return await base.ReadAsync(buffer, either.Token);
            }
            catch (OperationCanceledException) when (_broken.IsCancellationRequested)
            {
                throw new IOException("No route to host.");
            }
        }

        protected override void Dispose(bool disposing)
        {
            if (!_broken.IsCancellationRequested)
            {
                base.Dispose(disposing);
            }
        }
    }

    /// <summary>Breaks once the handshake is through.</summary>
    private sealed class BrokenLaterStream(Stream inner) : PassingStream(inner)
    {
        private int _writes;

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_writes++ > 0)
            {
                await Inner.DisposeAsync();
                throw new IOException("Connection reset by peer.");
            }

            await base.WriteAsync(buffer, cancellationToken);
        }
    }
}
