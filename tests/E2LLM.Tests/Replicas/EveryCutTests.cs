using E2LLM.Deployment;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Replicas.Stages;
using E2LLM.Sampling;
using E2LLM.Tests.Support;
using E2LLM.Weights;

namespace E2LLM.Tests.Replicas;

/// <summary>
/// A real executor of eight layers with random weights, cut in every way between prefill and decode: always the tokens of one process.
/// E2LLM_EVERY_CUT=1 tries all pairs of all 128 ways to cut eight layers, with the toy executor.
/// </summary>
public sealed class EveryCutTests : IDisposable
{
    private static readonly ModelShape Shape = RandomModel.Llama() with { LayerCount = 8 };
    private readonly GgufFile _file = GgufFile.Read(new RandomModel(Shape, seed: 11).File());

    public void Dispose() => _file.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Serve_EveryPairOfCuts_GivesTheTokensOfOneProcess(bool computesFirstLayer)
    {
        ServingRequest[] requests =
        [
            Request(70, 9, 1), Request(64, 5, 2) with { Sampling = new SamplingOptions { Temperature = 0.8f, TopK = 20, Seed = 7 } },
        ];
        List<int>[] expected = Expected(requests);
        int[][] cuts = [[], .. Enumerable.Range(1, 7).Select(i => new[] { i })];
        await using var cluster = Cluster(chunk: 24, computesFirstLayer);
        for (int i = 0; i < cuts.Length; i++)
        {
            cluster.Add($"p{i}-", ReplicaRole.Prefill, cuts[i], range => Executor(cluster, range, threads: 1));
            cluster.Add($"d{i}-", ReplicaRole.Decode, cuts[i], range => Executor(cluster, range, threads: 1));
        }

        foreach (int[] prefill in cuts)
        {
            foreach (int[] decode in cuts)
            {
                await using Dispatcher dispatcher = await cluster.DispatchAsync(Plan("p", ReplicaRole.Prefill, cuts, prefill), Plan("d", ReplicaRole.Decode, cuts, decode));
                List<int>[] actual = await Task.WhenAll(requests.Select(request => DispatcherTests.CollectAsync(dispatcher.Serve(request))));
                Assert.Equal(expected, actual);
            }
        }
    }

    [Theory]
    [InlineData(1), InlineData(63), InlineData(64), InlineData(65), InlineData(129), InlineData(511)]
    public async Task Serve_PromptsAroundTheBlockSizeAndTheLongest_GiveTheTokensOfOneProcess(int length)
    {
        ServingRequest request = Request(length, Math.Min(70, Shape.ContextLength - length), length);
        await using var cluster = Cluster(chunk: 64);
        await using Dispatcher dispatcher = await cluster.DispatchAsync(
            cluster.Add("p", ReplicaRole.Prefill, [3], range => Executor(cluster, range, 1)), cluster.Add("d", ReplicaRole.Decode, [5], range => Executor(cluster, range, 1)));
        for (int round = 0; round < 2; round++)
        {
            // The second time whole pages are there already.
            ServedRequest served = dispatcher.Serve(request);
            Assert.Equal(Expected([request])[0], await DispatcherTests.CollectAsync(served));
        }
    }

    /// <summary>Under load every step has another batch: chunks of many sizes beside decoding sequences, on any number of threads.</summary>
    [Theory]
    [InlineData(1, 1), InlineData(7, 2), InlineData(64, 1), InlineData(300, 3)]
    public async Task Serve_ManyAtOnce_NeitherBatchNorChunkNorThreadsChangeAToken(int chunk, int threads)
    {
        ServingRequest[] requests = [.. Enumerable.Range(0, 14).Select(i => Request(1 + (i * 29 % 150), 3 + (i * 7 % 30), i) with
        {
            Sampling = i % 2 == 0 ? new SamplingOptions() : new SamplingOptions { Temperature = 1f, TopP = 0.9f, Seed = (ulong)i },
        })];
        List<int>[] expected = Expected(requests);
        await using var cluster = Cluster(chunk);
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(
            cluster.Add("p", ReplicaRole.Prefill, [4], range => Executor(cluster, range, threads)),
            cluster.Add("d", ReplicaRole.Decode, [2, 6], range => Executor(cluster, range, threads)),
            cluster.Add("m", ReplicaRole.Mixed, [5], range => Executor(cluster, range, 1))))
        {
            Assert.Equal(expected, await Task.WhenAll(requests.Select(request => DispatcherTests.CollectAsync(dispatcher.Serve(request)))));
        }

        await cluster.AssertEmptyAsync();
    }

    [Fact]
    public async Task Serve_AllWaysToCutOnBothSides_GiveTheTokensOfOneProcess()
    {
        // Without the option each way to cut meets one other; with it, each meets all.
        int[][] all = [.. Enumerable.Range(0, 128).Select(bits => Enumerable.Range(1, 7).Where(i => (bits >> (i - 1) & 1) != 0).ToArray())];
        int step = Environment.GetEnvironmentVariable("E2LLM_EVERY_CUT") == "1" ? 1 : all.Length;
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        ServingRequest request = DispatcherTests.Request(20, 4);
        List<int> expected = MemoryCluster.Reference(whole, request);
        for (int pair = 0; pair < all.Length * all.Length; pair += step)
        {
            await using var cluster = new MemoryCluster();
            await using Dispatcher dispatcher = await cluster.DispatchAsync(
                cluster.Add("p", ReplicaRole.Prefill, all[pair / all.Length]), cluster.Add("d", ReplicaRole.Decode, all[((pair / all.Length * 37) + pair) % all.Length]));
            Assert.Equal(expected, await DispatcherTests.CollectAsync(dispatcher.Serve(request)));
        }
    }

    private static ReplicaPlan Plan(string name, ReplicaRole role, int[][] cuts, int[] cut)
    {
        int[] edges = [0, .. cut, 8];
        return new ReplicaPlan
        {
            Name = name,
            Role = role,
            Stages = [.. Enumerable.Range(0, edges.Length - 1).Select(i => new StagePlan
            {
                Device = $"{name}{Array.IndexOf(cuts, cut)}-{i}", Layers = new LayerRange(edges[i], edges[i + 1]), Embedding = i == 0, Head = i + 2 == edges.Length,
            })],
        };
    }

    private static ServingRequest Request(int length, int tokens, int salt) => new()
    {
        PromptIds = [.. Enumerable.Range(0, length).Select(i => ((i * 13) + (salt * 7)) % Shape.VocabularySize)], MaxTokenCount = tokens,
    };

    private MemoryCluster Cluster(int chunk, bool computesFirstLayer = false) => new() { Model = ModelIdentityReader.Read(_file), ChunkTokenCount = chunk, ComputesFirstLayer = computesFirstLayer };

    private List<int>[] Expected(ServingRequest[] requests)
    {
        using ModelWeights weights = ModelWeights.Load(_file, ModelShapeReader.Read(_file), new LayerRange(0, 8), embedding: true, head: true);
        using var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 1, KvElementType = KvElementType.F32 });
        return [.. requests.Select(request => MemoryCluster.Reference(new LayerRangeStageExecutor(executor), request))];
    }

    private LayerRangeStageExecutor Executor(MemoryCluster cluster, LayerRange range, int threads)
    {
        ModelWeights weights = ModelWeights.Load(_file, ModelShapeReader.Read(_file), range, range.Start == 0, range.End == 8);
        var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = threads, KvElementType = KvElementType.F32 });
        cluster.Own(weights);
        cluster.Own(executor);
        return new LayerRangeStageExecutor(executor);
    }
}
