using System.Globalization;
using System.Runtime.InteropServices;
using E2LLM.Deployment;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Replicas.Stages;
using E2LLM.Tests.Support;
using E2LLM.Tests.Weights;
using E2LLM.Weights;

namespace E2LLM.Tests.Replicas;

/// <summary>
/// Memory that is refused once, and reads that fail once, at one place after the other. <c>E2LLM_FAILING_PLACES</c> tries the first so many of them instead of a few.
/// </summary>
public sealed class AllocationTests
{
    /// <summary>Each of the seven stages takes memory for its blocks once.</summary>
    private const int StageCount = 7;

    private static readonly int[] Places = Environment.GetEnvironmentVariable("E2LLM_FAILING_PLACES") is { } count
        ? [.. Enumerable.Range(1, int.Parse(count, CultureInfo.InvariantCulture))] : [1, 2, 3, 5, 8, 13, 21, 34];

    [Fact]
    public async Task Serve_NthBlockOfMemoryRefused_GivesTheSameTokensAndLeavesNothing()
    {
        ServingRequest[] requests = [.. Enumerable.Range(0, 12).Select(i => DispatcherTests.Request(100 + (i * 9), 20, salt: i))];
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        List<int>[] expected = [.. requests.Select(request => MemoryCluster.Reference(whole, request))];
        int refused = 0;
        for (int n = 1; n <= StageCount; n++)
        {
            int count = 0;
            await using var cluster = new MemoryCluster { ChunkTokenCount = 64 };
            await using (Dispatcher dispatcher = await cluster.DispatchAsync(
                cluster.Add("p", ReplicaRole.Prefill, [4], Toy), cluster.Add("d", ReplicaRole.Decode, [2, 5], Toy), cluster.Add("m", ReplicaRole.Mixed, [3], Toy)))
            {
                ServedRequest[] served = [.. requests.Select(dispatcher.Serve)];
                Assert.Equal(expected, await Task.WhenAll(served.Select(one => DispatcherTests.CollectAsync(one))));
                refused += count >= n ? 1 : 0;
                Assert.Equal(count >= n ? 1 : 0, served.Sum(one => one.Report.RecoveryCount));
                Assert.Equal(3, dispatcher.Replicas.Count);
                Assert.Equal(expected[3], await DispatcherTests.CollectAsync(dispatcher.Serve(requests[3])));
            }

            await cluster.AssertEmptyAsync();

            ToyExecutor Toy(LayerRange layers) => new(8, layers, allocate: Allocate);

            // What no machine has is refused by the real allocator.
            unsafe nint Allocate(nuint bytes) => (nint)NativeMemory.AllocZeroed(Interlocked.Increment(ref count) == n ? nuint.MaxValue / 2 : bytes);
        }

        Assert.True(refused >= StageCount - 2, $"{refused} of {StageCount} places were reached");
    }

    [Fact]
    public async Task Load_NthReadFails_IsToldAndTheNextOrderWorks()
    {
        using GgufFile file = GgufFile.Read(new RandomModel(RandomModel.Llama(), seed: 4).File());
        ModelIdentity model = ModelIdentityReader.Read(file);
        int layers = model.Shape.LayerCount;
        byte[] slice = SliceTests.Slice(file, new LayerRange(0, layers), true, true);
        var request = new ServingRequest { PromptIds = [1, 5, 9, 3], MaxTokenCount = 6 };
        var executorOptions = new ExecutorOptions { ThreadCount = 1, KvElementType = KvElementType.F32, KvBlockCount = 4 };
        List<int>? expected = null;
        int failing = 0;
        await using var cluster = new MemoryCluster { Model = model };
        cluster.AddIdle("a", _ =>
        {
            ModelWeights weights = ModelWeights.Load(new FailingStream(new MemoryStream(slice), failing), out ModelIdentity _);
            var executor = new LayerRangeExecutor(weights, executorOptions);
            return new LoadedStage(executor, weights);
        });
        DeploymentPlan plan = ReplanTests.Plan(new ReplicaPlan { Name = "m", Role = ReplicaRole.Mixed, Stages = [new StagePlan { Device = "a", Layers = new LayerRange(0, layers), Embedding = true, Head = true }] });
        using (ModelWeights whole = ModelWeights.Load(file, model.Shape, new LayerRange(0, layers), true, true))
        using (var executor = new LayerRangeExecutor(whole, executorOptions))
        {
            expected = MemoryCluster.Reference(new LayerRangeStageExecutor(executor), request);
        }

        foreach (int n in Places)
        {
            failing = n;
            PeerLostException thrown = await Assert.ThrowsAsync<PeerLostException>(() => Dispatcher.ConnectAsync(plan, model, cluster.ConnectAsync, cluster.Options));
            Assert.Equal(("a", 0, PeerLossReason.Failed), (thrown.Peer, thrown.StageIndex, thrown.Reason));
            Assert.Contains($"read {n} failed", thrown.Message, StringComparison.Ordinal);
            Assert.Null(cluster["a"].Layers);
        }

        failing = 0;
        await using Dispatcher dispatcher = await Dispatcher.ConnectAsync(plan, model, cluster.ConnectAsync, cluster.Options);
        Assert.Equal(expected, await DispatcherTests.CollectAsync(dispatcher.Serve(request)));
    }

    /// <summary>Gives small pieces, and fails at one of the reads.</summary>
    private sealed class FailingStream(MemoryStream inner, int failing) : MemoryStream
    {
        private const int PieceBytes = 128;
        private int _reads;

        public override int Read(Span<byte> buffer) => ++_reads == failing
            ? throw new IOException($"disk error: read {failing} failed") : inner.Read(buffer[..Math.Min(PieceBytes, buffer.Length)]);

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));
    }
}
