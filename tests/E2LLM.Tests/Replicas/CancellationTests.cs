using System.Globalization;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Sampling;

namespace E2LLM.Tests.Replicas;

/// <summary>Requests and replicas given up at any moment: 1,000 requests and 1,000 disposals; <c>E2LLM_CANCELS</c> sets how many of each, a multiple of 4.</summary>
public sealed class CancellationTests
{
    private static readonly int GivenUpCount = int.Parse(Environment.GetEnvironmentVariable("E2LLM_CANCELS") ?? "1000", CultureInfo.InvariantCulture);

    [Fact]
    public async Task Serve_CancelledAtRandomMoments_LeavesNothingBehind()
    {
        const int AtOnce = 20, Tokens = 80;
        List<int>[] expected = [.. Enumerable.Range(0, AtOnce).Select(i => Expected(i, Tokens))];
        await using var cluster = new MemoryCluster { ChunkTokenCount = 8 };
        await using (Dispatcher dispatcher = await StartAsync(cluster))
        {
            var random = new Random(17);
            int cancelled = 0, left = 0, finished = 0;
            while (cancelled + left < GivenUpCount)
            {
                await Task.WhenAll(Enumerable.Range(0, AtOnce).Select(async i =>
                {
                    using var source = new CancellationTokenSource();
                    int stopAfter = i % 4 == 0 ? random.Next(Tokens) : i % 4 == 1 ? random.Next(5) : int.MaxValue;
                    bool leaves = i % 8 < 2;
                    if (stopAfter == int.MaxValue)
                    {
                        source.CancelAfter(TimeSpan.FromMilliseconds(random.Next(20)));
                    }

                    var tokens = new List<int>();
                    try
                    {
                        await foreach (int token in dispatcher.Serve(Request(i, Tokens)).WithCancellation(source.Token))
                        {
                            tokens.Add(token);
                            if (tokens.Count > stopAfter && leaves)
                            {
                                break;
                            }

                            if (tokens.Count > stopAfter)
                            {
                                await source.CancelAsync();
                            }
                        }

                        Interlocked.Increment(ref tokens.Count < Tokens ? ref left : ref finished);
                    }
                    catch (OperationCanceledException)
                    {
                        Interlocked.Increment(ref cancelled);
                    }

                    Assert.Equal(expected[i].Take(tokens.Count), tokens);
                }));
            }

            Assert.True(cancelled > GivenUpCount / 2 && left > GivenUpCount / 10, $"{cancelled} cancelled, {left} left, {finished} finished");
            await AssertIdleAsync(dispatcher, cluster);
            Assert.Equal(expected[3], await DispatcherTests.CollectAsync(dispatcher.Serve(Request(3, Tokens))));
        }

        await cluster.AssertEmptyAsync();
    }

    /// <summary>Each round disposes something at a random moment of three requests: the dispatcher, a device, the enumerators, or the dispatcher while it connects.</summary>
    [Fact]
    public async Task Dispose_AtRandomMoments_EndsRequestsAndFreesEverything()
    {
        int[] ends = new int[4];
        await Parallel.ForEachAsync(Enumerable.Range(0, GivenUpCount), new ParallelOptions { MaxDegreeOfParallelism = 8 }, async (round, _) =>
        {
            await DisposeOnceAsync(round % 4, new Random(round)).WaitAsync(TimeSpan.FromMinutes(2), CancellationToken.None);
            Interlocked.Increment(ref ends[round % 4]);
        });
        Assert.All(ends, count => Assert.Equal(GivenUpCount / 4, count));
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

    private static async Task DisposeOnceAsync(int what, Random random)
    {
        await using var cluster = new MemoryCluster();
        ReplicaPlan[] plans = [cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("d", ReplicaRole.Decode, 3)];
        int wait = random.Next(4), tokens = random.Next(1, 30);
        if (what == 3)
        {
            using var hurry = new CancellationTokenSource();
            Task<Dispatcher> connecting = Dispatcher.ConnectAsync(ReplanTests.Plan(plans), cluster.Model, cluster.ConnectAsync, cluster.Options, cancellationToken: hurry.Token);
            await Task.Delay(wait);
            await hurry.CancelAsync();
            try
            {
                await (await connecting).DisposeAsync();
            }
            catch (OperationCanceledException)
            {
            }

            await cluster.AssertEmptyAsync();
            return;
        }

        Dispatcher dispatcher = await cluster.DispatchAsync(plans);
        var now = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Task[] running = [.. Enumerable.Range(0, 3).Select(i => Task.Run(async () =>
        {
            Exception? ended = await Record.ExceptionAsync(async () =>
            {
                await foreach (int token in dispatcher.Serve(DispatcherTests.Request(12, 400, salt: i)))
                {
                    if (Interlocked.Decrement(ref tokens) == 0)
                    {
                        now.SetResult();
                    }

                    if (what == 2 && Volatile.Read(ref tokens) < 0)
                    {
                        break;
                    }
                }
            });
            Assert.True(ended is null or ObjectDisposedException or NoReplicaException or PeerLostException, $"{ended}");
        }))];
        await (wait == 0 && what == 0 ? Task.CompletedTask : now.Task);
        switch (what)
        {
            case 0:
                await Task.WhenAll(dispatcher.DisposeAsync().AsTask(), dispatcher.DisposeAsync().AsTask());
                break;
            case 1:
                StageHost[] hosts = [.. cluster.Hosts];
                await hosts[random.Next(hosts.Length)].DisposeAsync();
                break;
        }

        await (what == 1 ? dispatcher.DisposeAsync() : ValueTask.CompletedTask);
        await Task.WhenAll(running);
        await dispatcher.DisposeAsync();
        Assert.Throws<ObjectDisposedException>(() => dispatcher.Serve(DispatcherTests.Request(1, 1)));
        await cluster.AssertEmptyAsync();
    }

    private static ServingRequest Request(int i, int tokens) => DispatcherTests.Request(1 + (i * 11), tokens, new SamplingOptions { Temperature = 1, Seed = (ulong)i }, i);

    private static List<int> Expected(int i, int tokens)
    {
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        return MemoryCluster.Reference(whole, Request(i, tokens));
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
