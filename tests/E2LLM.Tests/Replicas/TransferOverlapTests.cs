using E2LLM.Deployment;
using E2LLM.Replicas;

namespace E2LLM.Tests.Replicas;

/// <summary>When keys and values leave, counted instead of timed: the computing stands still until what it has produced so far has been sent.</summary>
public sealed class TransferOverlapTests
{
    private const int Chunk = 32, Prompt = 100, Layers = 8, BytesPerTokenAndLayer = 2 * 8 * sizeof(float);

    [Fact]
    public async Task Serve_SendingWhilePrefilling_EveryLayerOfEveryChunkLeavesBeforeTheNextIsComputed()
    {
        long sent = 0, computed = 0;
        var waits = new List<bool>();
        await using var cluster = new MemoryCluster
        {
            ChunkTokenCount = Chunk,
            WrapBetween = (from, _, stream) => from == "p0" ? new CountingStream(stream, bytes => Interlocked.Add(ref sent, bytes)) : stream,
        };
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill), cluster.Add("d", ReplicaRole.Decode, 3));
        ToyExecutor prefill = cluster.Toy("p0");
        prefill.AfterLayer = _ =>
        {
            int tokens = Math.Min(Chunk, Prompt - ((prefill.ForwardCount - 1) * Chunk));
            computed += tokens * BytesPerTokenAndLayer;
            waits.Add(SpinWait.SpinUntil(() => Interlocked.Read(ref sent) >= computed, TimeSpan.FromSeconds(20)));
        };
        await AssertServedAsync(dispatcher);
        Assert.Equal(4 * Layers, waits.Count);
        Assert.All(waits, Assert.True);
    }

    [Fact]
    public async Task Serve_SendingAfterwards_NothingLeavesBeforeTheLastLayerOfTheLastChunk()
    {
        long sent = 0;
        var before = new List<long>();
        await using var cluster = new MemoryCluster
        {
            ChunkTokenCount = Chunk,
            HostOptions = options => options with { SendsWhilePrefilling = false },
            WrapBetween = (from, _, stream) => from == "p0" ? new CountingStream(stream, bytes => Interlocked.Add(ref sent, bytes)) : stream,
        };
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill), cluster.Add("d", ReplicaRole.Decode, 3));
        cluster.Toy("p0").AfterLayer = layer =>
        {
            if (layer < Layers - 1)
            {
                before.Add(Interlocked.Read(ref sent));
            }
        };
        await AssertServedAsync(dispatcher);
        Assert.Equal(4 * (Layers - 1), before.Count);
        Assert.All(before, bytes => Assert.Equal(0, bytes));
    }

    /// <summary>Several prompts at once, on a prefill pipeline: what is sent is complete whichever way.</summary>
    [Theory]
    [InlineData(true), InlineData(false)]
    public async Task Serve_ManyPrompts_GivesTheTokensOfOneProcess(bool during)
    {
        await using var cluster = new MemoryCluster { ChunkTokenCount = Chunk, HostOptions = options => options with { SendsWhilePrefilling = during } };
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill, 2, 6), cluster.Add("d", ReplicaRole.Decode, 3)))
        {
            await Task.WhenAll(Enumerable.Range(0, 8).Select(i => AssertServedAsync(dispatcher, i)));
        }

        await cluster.AssertEmptyAsync();
    }

    private static async Task AssertServedAsync(Dispatcher dispatcher, int salt = 0)
    {
        using var whole = new ToyExecutor(Layers, new LayerRange(0, Layers));
        ServingRequest request = DispatcherTests.Request(Prompt, 10, salt: salt);
        ServedRequest served = dispatcher.Serve(request);
        Assert.Equal(MemoryCluster.Reference(whole, request), await DispatcherTests.CollectAsync(served));
        Assert.Equal(Prompt * Layers * (long)BytesPerTokenAndLayer, served.Report.KvTransferBytes);
    }
}
