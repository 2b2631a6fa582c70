using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Sampling;

namespace E2LLM.Tests.Replicas;

public sealed class DispatcherTests
{
    private static readonly SamplingOptions Seeded = new() { Temperature = 0.8f, TopK = 20, TopP = 0.95f, Seed = 42 };

    [Fact]
    public async Task Serve_EveryPairOfCuts_GivesTheTokensOfOneProcess()
    {
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        ServingRequest request = Request(37, 12, Seeded);
        List<int> expected = MemoryCluster.Reference(whole, request);
        int[][] cuts = [[], .. Enumerable.Range(1, 7).Select(i => new[] { i }), [2, 5], [3, 4], [1, 2, 3, 4, 5, 6, 7]];
        foreach (int[] prefill in cuts)
        {
            foreach (int[] decode in cuts)
            {
                await using var cluster = new MemoryCluster();
                await using (Dispatcher dispatcher = await cluster.DispatchAsync(
                    cluster.Add("p", ReplicaRole.Prefill, prefill), cluster.Add("d", ReplicaRole.Decode, decode)))
                {
                    ServedRequest served = dispatcher.Serve(request);
                    Assert.Equal(expected, await CollectAsync(served));
                    Assert.Equal(37L * 8 * 2 * 8 * 4, served.Report.KvTransferBytes);
                }

                await cluster.AssertEmptyAsync();
            }
        }
    }

    [Theory]
    [InlineData(1), InlineData(63), InlineData(64), InlineData(65), InlineData(129)]
    public async Task Serve_PromptsAroundTheBlockSize_GiveTheTokensOfOneProcess(int length)
    {
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill, 3), cluster.Add("d", ReplicaRole.Decode, 5));
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        foreach (SamplingOptions sampling in new[] { new SamplingOptions(), Seeded })
        {
            ServingRequest request = Request(length, 70, sampling);
            Assert.Equal(MemoryCluster.Reference(whole, request), await CollectAsync(dispatcher.Serve(request)));
        }
    }

    [Fact]
    public async Task Serve_DecodeReplicaThatLatencyLimits_GetsRequestsOnlyWhereTheOtherWouldBeSlowerForEach()
    {
        // By rates alone "slow" would get every fourth request, and each token of it would take 105 ms beside at most 41.
        await using var cluster = new MemoryCluster { MaxSequenceCount = 6 };
        ReplicaPlan fast = cluster.Add("fast", ReplicaRole.Decode, 4) with { DecodeSlots = 6, DecodeTokensPerSecond = 146, Bottleneck = new PlanBottleneck { Kind = "stage", At = "fast0", Seconds = 0.041 } };
        ReplicaPlan slow = cluster.Add("slow", ReplicaRole.Decode, 3) with { DecodeSlots = 6, DecodeTokensPerSecond = 57, Bottleneck = new PlanBottleneck { Kind = "latency", At = "slow", Seconds = 0.105 } };
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill, 3), slow, fast);
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        ServingRequest[] requests = [.. Enumerable.Range(0, 8).Select(i => Request(20 + i, 40, Seeded with { Seed = (ulong)i }, i))];
        ServedRequest[] served = [.. requests.Select(request => dispatcher.Serve(request))];
        List<int>[] texts = await Task.WhenAll(served.Select(one => CollectAsync(one)));
        Assert.Equal(requests.Select(request => MemoryCluster.Reference(whole, request)), texts);
        Assert.Equal(6, served.Take(6).Count(one => one.Report.DecodeReplica == "fast"));
    }

    [Fact]
    public async Task Serve_ManyRequestsAtOnce_AreBatchedAndGiveTheTokensOfOneProcess()
    {
        await using var cluster = new MemoryCluster { ChunkTokenCount = 24 };
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(
            cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("q", ReplicaRole.Prefill, 2), cluster.Add("d", ReplicaRole.Decode, 3, 6), cluster.Add("m", ReplicaRole.Mixed, 5)))
        {
            using var whole = new ToyExecutor(8, new LayerRange(0, 8));
            ServingRequest[] requests = [.. Enumerable.Range(0, 40).Select(i => Request(1 + (i * 7 % 90), 1 + (i * 5 % 30), Seeded with { Seed = (ulong)i }, i))];
            List<int>[] expected = [.. requests.Select(request => MemoryCluster.Reference(whole, request))];
            List<int>[] actual = await Task.WhenAll(requests.Select(request => CollectAsync(dispatcher.Serve(request))));
            Assert.Equal(expected, actual);
            Assert.Contains(cluster.Toys, toy => toy.LargestBatch > 1);
        }

        await cluster.AssertEmptyAsync();
    }

    [Fact]
    public async Task Serve_EndToken_IsDeliveredAndEndsTheRequest()
    {
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill, 3), cluster.Add("d", ReplicaRole.Decode, 5));
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        ServingRequest open = Request(9, 40, Seeded);
        List<int> all = MemoryCluster.Reference(whole, open);
        foreach (int position in new[] { 0, 1, 2, 20, 39 })
        {
            int end = all[position];
            List<int> tokens = await CollectAsync(dispatcher.Serve(open with { EndsAt = token => token == end }));
            Assert.Equal(all.Take(all.IndexOf(end) + 1), tokens);
        }
    }

    internal static ServingRequest Request(int length, int tokens, SamplingOptions? sampling = null, int salt = 0) => new()
    {
        PromptIds = [.. Enumerable.Range(0, length).Select(i => ((i * 13) + salt) % 97)],
        MaxTokenCount = tokens,
        Sampling = sampling ?? new SamplingOptions(),
    };

    internal static async Task<List<int>> CollectAsync(ServedRequest served, CancellationToken cancellationToken = default)
    {
        using var guard = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        guard.CancelAfter(TimeSpan.FromSeconds(60));
        var tokens = new List<int>();
        await foreach (int token in served.WithCancellation(guard.Token))
        {
            tokens.Add(token);
        }

        return tokens;
    }
}
