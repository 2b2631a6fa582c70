using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Sampling;

namespace E2LLM.Tests.Replicas;

/// <summary>Requests and replicas given up at any moment.</summary>
public sealed class CancellationTests
{
    [Fact]
    public async Task Serve_CancelledAtRandomMoments_LeavesNothingBehind()
    {
        await using var cluster = new MemoryCluster { ChunkTokenCount = 8 };
        await using (Dispatcher dispatcher = await StartAsync(cluster))
        {
            using var whole = new ToyExecutor(8, new LayerRange(0, 8));
            var random = new Random(17);
            int cancelled = 0, finished = 0;
            for (int round = 0; round < 67; round++)
            {
                await Task.WhenAll(Enumerable.Range(0, 15).Select(async i =>
                {
                    ServingRequest request = DispatcherTests.Request(1 + (i * 11), 20, new SamplingOptions { Temperature = 1, Seed = (ulong)i }, i);
                    using var source = new CancellationTokenSource();
                    int stopAfter = i % 3 == 0 ? random.Next(20) : -1;
                    if (i % 3 == 1)
                    {
                        source.CancelAfter(TimeSpan.FromMilliseconds(random.Next(30)));
                    }

                    var tokens = new List<int>();
                    try
                    {
                        await foreach (int token in dispatcher.Serve(request).WithCancellation(source.Token))
                        {
                            tokens.Add(token);
                            if (tokens.Count == stopAfter)
                            {
                                break;
                            }
                        }

                        Interlocked.Increment(ref finished);
                    }
                    catch (OperationCanceledException)
                    {
                        Interlocked.Increment(ref cancelled);
                    }

                    Assert.Equal(Expected(i).Take(tokens.Count), tokens);
                }));
            }

            Assert.True(finished > 300 && cancelled > 15, $"{finished} finished, {cancelled} cancelled");
            await AssertIdleAsync(dispatcher, cluster);
            Assert.Equal(Expected(3), await DispatcherTests.CollectAsync(dispatcher.Serve(DispatcherTests.Request(34, 20, new SamplingOptions { Temperature = 1, Seed = 3 }, 3))));
        }

        await cluster.AssertEmptyAsync();
    }

    [Fact]
    public async Task Dispose_WhileRequestsRun_EndsThemAndFreesEverything()
    {
        var random = new Random(5);
        for (int round = 0; round < 50; round++)
        {
            await using var cluster = new MemoryCluster();
            Dispatcher dispatcher = await StartAsync(cluster);
            var now = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            int left = round % 5 == 0 ? 0 : random.Next(1, 200);
            Task[] running = [.. Enumerable.Range(0, 8).Select(i => Task.Run(async () =>
            {
                try
                {
                    await foreach (int token in dispatcher.Serve(DispatcherTests.Request(60, 400, salt: i)))
                    {
                        if (Interlocked.Decrement(ref left) == 0)
                        {
                            now.SetResult();
                        }
                    }
                }
                catch (ObjectDisposedException)
                {
                }
                catch (NoReplicaException)
                {
                }
            }))];
            if (round % 5 > 0)
            {
                await now.Task.WaitAsync(TimeSpan.FromSeconds(20));
            }

            await dispatcher.DisposeAsync();
            await dispatcher.DisposeAsync();
            await Task.WhenAll(running).WaitAsync(TimeSpan.FromSeconds(20));
            Assert.Throws<ObjectDisposedException>(() => dispatcher.Serve(DispatcherTests.Request(1, 1)));
            await cluster.AssertEmptyAsync();
        }
    }

    [Fact]
    public async Task Dispose_HostsWhileRequestsRun_IsALossForTheDriver()
    {
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("m", ReplicaRole.Mixed, 3));
        Task<NoReplicaException> running = Assert.ThrowsAsync<NoReplicaException>(() => DispatcherTests.CollectAsync(dispatcher.Serve(DispatcherTests.Request(10, 3000))));
        await Task.Delay(20);
        await cluster["m1"].DisposeAsync();
        await cluster["m1"].DisposeAsync();
        Assert.IsType<PeerLostException>((await running.WaitAsync(TimeSpan.FromSeconds(20))).InnerException);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => cluster["m1"].ServeAsync(Stream.Null, CancellationToken.None));
    }

    [Fact]
    public async Task Serve_ConsumerThatRests_StopsOnlyItsOwnRequest()
    {
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await StartAsync(cluster);
        ServingRequest request = DispatcherTests.Request(5, 300);
        await using IAsyncEnumerator<int> resting = dispatcher.Serve(request).GetAsyncEnumerator();
        var tokens = new List<int>();
        for (int i = 0; i < 3; i++)
        {
            Assert.True(await resting.MoveNextAsync());
            tokens.Add(resting.Current);
        }

        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        ServingRequest other = DispatcherTests.Request(30, 60, salt: 5);
        Assert.Equal(MemoryCluster.Reference(whole, other), await DispatcherTests.CollectAsync(dispatcher.Serve(other)));

        // At most the buffer was generated ahead, and it goes on where it rested.
        await Task.Delay(50);
        Assert.True(cluster.Toys.Where(toy => toy.Role.HasHead).Max(toy => toy.ForwardCount) < 200);
        while (await resting.MoveNextAsync())
        {
            tokens.Add(resting.Current);
        }

        Assert.Equal(MemoryCluster.Reference(whole, request), tokens);
    }

    [Fact]
    public async Task Serve_MoreRequestsThanRoom_WaitTheirTurn()
    {
        await using var cluster = new MemoryCluster { MaxSequenceCount = 2 };
        await using Dispatcher dispatcher = await cluster.DispatchAsync(
            cluster.Add("p", ReplicaRole.Prefill, [4], range => new ToyExecutor(8, range, blockCount: 2)),
            cluster.Add("d", ReplicaRole.Decode, [3], range => new ToyExecutor(8, range, blockCount: 4)));
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        ServingRequest[] requests = [.. Enumerable.Range(0, 12).Select(i => DispatcherTests.Request(60 + i, 30, salt: i))];
        List<int>[] actual = await Task.WhenAll(requests.Select(request => DispatcherTests.CollectAsync(dispatcher.Serve(request))));
        Assert.Equal(requests.Select(request => MemoryCluster.Reference(whole, request)), actual);
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => DispatcherTests.CollectAsync(dispatcher.Serve(DispatcherTests.Request(250, 30))));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => DispatcherTests.CollectAsync(dispatcher.Serve(DispatcherTests.Request(4096, 1))));
    }

    private static Task<Dispatcher> StartAsync(MemoryCluster cluster) => cluster.DispatchAsync(
        cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("q", ReplicaRole.Prefill, 2, 5), cluster.Add("d", ReplicaRole.Decode, 3, 6), cluster.Add("e", ReplicaRole.Decode, 5));

    private static List<int> Expected(int i, int tokens = 20)
    {
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        int length = tokens == 20 ? 1 + (i * 11) : 1 + (i % 40);
        return MemoryCluster.Reference(whole, DispatcherTests.Request(length, tokens, new SamplingOptions { Temperature = 1, Seed = (ulong)i }, i));
    }

    private static async Task AssertIdleAsync(Dispatcher dispatcher, MemoryCluster cluster)
    {
        for (int i = 0; i < 500 && (cluster.Hosts.Any(host => host.UsedKvBlockCount > 0) || dispatcher.Replicas.Any(replica => replica.SequenceCount > 0)); i++)
        {
            await Task.Delay(10);
        }

        Assert.All(cluster.Hosts, host => Assert.Equal(0, host.UsedKvBlockCount));
        Assert.All(dispatcher.Replicas, replica => Assert.Equal(0, replica.SequenceCount));
        Assert.All(dispatcher.Replicas, replica => Assert.Equal(replica.Admission.BlockCount, replica.Admission.UnclaimedBlockCount));
    }
}
