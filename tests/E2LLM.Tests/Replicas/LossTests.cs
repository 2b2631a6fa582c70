using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Sampling;

namespace E2LLM.Tests.Replicas;

/// <summary>Devices that die while they are needed.</summary>
public sealed class LossTests
{
    private const int Tokens = 24;
    private static readonly ServingRequest Request = DispatcherTests.Request(50, Tokens, new SamplingOptions { Temperature = 0.7f, Seed = 9 });

    public static TheoryData<string, int> EveryStageAtEveryMoment()
    {
        var data = new TheoryData<string, int>();
        foreach (string device in new[] { "p0", "p1", "p2", "d0", "d1", "d2" })
        {
            foreach (int token in new[] { 0, 1, 12, Tokens - 1 })
            {
                data.Add(device, token);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(EveryStageAtEveryMoment))]
    public async Task Serve_DeviceKilledAtToken_GivesTheSameTokens(string device, int token)
    {
        await using var cluster = new MemoryCluster();
        await using (Dispatcher dispatcher = await StartAsync(cluster))
        {
            int delivered = 0;
            var tokens = new List<int>();
            ServedRequest served = dispatcher.Serve(Request);
            await foreach (int id in served)
            {
                tokens.Add(id);
                if (delivered++ == token)
                {
                    cluster.Kill(device);
                }
            }

            Assert.Equal(Expected(), tokens);
            Assert.InRange(served.Report.RecoveryCount, 0, 1);
        }

        await cluster.AssertEmptyAsync();
    }

    [Theory]
    [InlineData("p0", 1), InlineData("p0", 3), InlineData("p1", 1), InlineData("p1", 2), InlineData("p2", 4)]
    [InlineData("d0", 1), InlineData("d1", 1), InlineData("d1", 2), InlineData("d2", 5), InlineData("d2", 20)]
    public async Task Serve_DeviceKilledInsideAStep_GivesTheSameTokens(string device, int batch)
    {
        await using var cluster = new MemoryCluster { ChunkTokenCount = 8 };
        await using (Dispatcher dispatcher = await StartAsync(cluster))
        {
            ToyExecutor toy = cluster.Toy(device);
            toy.BeforeForward = () =>
            {
                if (toy.ForwardCount + 1 == batch)
                {
                    cluster.Kill(device);
                }
            };
            ServedRequest served = dispatcher.Serve(Request);
            Assert.Equal(Expected(), await DispatcherTests.CollectAsync(served));
            Assert.Equal(1, served.Report.RecoveryCount);
        }

        await cluster.AssertEmptyAsync();
    }

    [Fact]
    public async Task Serve_TwoOfThreeReplicasKilled_GoesOnWithTheLast()
    {
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await StartAsync(cluster);
        int delivered = 0;
        var tokens = new List<int>();
        await foreach (int id in dispatcher.Serve(Request))
        {
            tokens.Add(id);
            if (++delivered == 5)
            {
                cluster.Kill("d1");
                cluster.Kill("e0");
                cluster.Kill("q0");
            }
        }

        // Only a prefill replica is left: it generates too.
        Assert.Equal(Expected(), tokens);
    }

    [Fact]
    public async Task Serve_AllKilled_EndsWithATypedError()
    {
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await StartAsync(cluster);
        int delivered = 0;
        await Assert.ThrowsAsync<NoReplicaException>(async () =>
        {
            await foreach (int id in dispatcher.Serve(Request))
            {
                if (++delivered == 3)
                {
                    Array.ForEach(["p0", "q1", "d2", "e0"], cluster.Kill);
                }
            }
        });
        Assert.Empty(dispatcher.Replicas);
    }

    [Fact]
    public async Task Serve_WithoutRecovery_EndsEveryPendingRequestNamingPeerAndStage()
    {
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await cluster.DispatchAsync(
            new DispatcherOptions { MaxRecoveryCount = 0 }, cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("d", ReplicaRole.Decode, 3, 6));
        var running = new TaskCompletionSource();
        Task[] requests = [.. Enumerable.Range(0, 6).Select(i => Assert.ThrowsAsync<PeerLostException>(async () =>
        {
            await foreach (int id in dispatcher.Serve(Request with { MaxTokenCount = 500 }))
            {
                running.TrySetResult();
            }
        }).ContinueWith(task =>
        {
            Assert.Equal(("d1", 1), (task.Result.Peer, task.Result.StageIndex));
        }, TaskScheduler.Default))];
        await running.Task;
        cluster.Kill("d1");
        await Task.WhenAll(requests).WaitAsync(TimeSpan.FromSeconds(20));
    }

    [Fact]
    public async Task Add_ReplicaAfterALoss_IsUsed()
    {
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("m", ReplicaRole.Mixed, 4));
        cluster.Kill("m1");
        await dispatcher.Replicas.Single().Lost.WaitAsync(TimeSpan.FromSeconds(20));
        await Assert.ThrowsAsync<NoReplicaException>(() => DispatcherTests.CollectAsync(dispatcher.Serve(Request)));
        dispatcher.Add(await Replica.ConnectAsync(cluster.Add("n", ReplicaRole.Mixed, 2), cluster.Model, cluster.ConnectAsync, cluster.Options));
        Assert.Equal(Expected(), await DispatcherTests.CollectAsync(dispatcher.Serve(Request)));
    }

    private static Task<Dispatcher> StartAsync(MemoryCluster cluster) => cluster.DispatchAsync(
        cluster.Add("p", ReplicaRole.Prefill, 2, 5), cluster.Add("q", ReplicaRole.Prefill, 4),
        cluster.Add("d", ReplicaRole.Decode, 3, 6), cluster.Add("e", ReplicaRole.Decode));

    private static List<int> Expected()
    {
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        return MemoryCluster.Reference(whole, Request);
    }
}
