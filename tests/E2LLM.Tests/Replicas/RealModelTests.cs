using System.Text.Json;
using E2LLM.Deployment;
using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Replicas.Stages;
using E2LLM.Sampling;
using E2LLM.Tests.Support;
using E2LLM.Weights;

namespace E2LLM.Tests.Replicas;

/// <summary>The embedded model served by replicas that cut it differently.</summary>
public sealed class RealModelTests
{
    [Theory]
    [InlineData("q8_0", KvElementType.F16, false)]
    [InlineData("q8_0", KvElementType.F16, true)]
    [InlineData("q8_0", KvElementType.Q8_0, true)]
    [InlineData("f32", KvElementType.F32, false)]
    [InlineData("f32", KvElementType.BF16, true)]
    public async Task Serve_OwnModel_GivesTheTokensOfOneProcess(string type, KvElementType kv, bool computesFirstLayer)
    {
        using GgufFile file = GgufFile.Open(TestModel.OwnModel(type));
        ModelIdentity model = ModelIdentityReader.Read(file);
        var executorOptions = new ExecutorOptions { ThreadCount = 1, KvElementType = kv, KvBlockCount = 64 };
        await using var cluster = new MemoryCluster { Model = model, ChunkTokenCount = 8 };
        int layers = model.Shape.LayerCount;
        ReplicaPlan prefill = cluster.Add("p", ReplicaRole.Prefill, [1], Executor);
        ReplicaPlan decode = cluster.Add("d", ReplicaRole.Decode, [layers / 2, layers - 1], Executor);
        await using Dispatcher dispatcher = new(await Task.WhenAll(new[] { prefill, decode }.Select(plan =>
            Replica.ConnectAsync(plan, model, cluster.ConnectAsync, cluster.Options with { KvElementType = kv, ComputesFirstLayer = computesFirstLayer }))));
        using var whole = new TestModel(TestModel.OwnModel(type), executorOptions);
        JsonElement golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(Repository.PathOf("samples/models"), "golden.json"))).RootElement;
        ServingRequest[] requests = [.. golden.GetProperty("cases").EnumerateArray().Take(6).SelectMany((item, i) => new[]
        {
            new ServingRequest { PromptIds = Ints(item), MaxTokenCount = 40, EndsAt = id => id == 2 },
            new ServingRequest { PromptIds = Ints(item), MaxTokenCount = 40, Sampling = new SamplingOptions { Temperature = 0.9f, TopP = 0.9f, Seed = (ulong)i } },
        })];
        List<int>[] expected = [.. requests.Select(request => MemoryCluster.Reference(new LayerRangeStageExecutor(whole.Executor), request))];
        List<int>[] actual = await Task.WhenAll(requests.Select(request => DispatcherTests.CollectAsync(dispatcher.Serve(request))));
        Assert.Equal(expected, actual);
        Assert.All(expected, tokens => Assert.NotEmpty(tokens));

        IStageExecutor Executor(LayerRange range)
        {
            ModelWeights weights = ModelWeights.Load(file, model.Shape, range, range.Start == 0, range.End == layers);
            var executor = new LayerRangeExecutor(weights, executorOptions);
            cluster.Own(weights);
            cluster.Own(executor);
            return new LayerRangeStageExecutor(executor);
        }

        static int[] Ints(JsonElement item) => [.. item.GetProperty("prompt_ids").EnumerateArray().Select(id => id.GetInt32())];
    }

    [Fact]
    public void Identity_OwnModels_DifferOnlyInTheirWeights()
    {
        using GgufFile small = GgufFile.Open(TestModel.OwnModel("q8_0")), large = GgufFile.Open(TestModel.OwnModel("f32"));
        ModelIdentity first = ModelIdentityReader.Read(small), second = ModelIdentityReader.Read(large);
        Assert.Equal(["weights_hash"], first.DifferencesFrom(second).Select(difference => difference.Field));
        using GgufFile again = GgufFile.Read(File.ReadAllBytes(TestModel.OwnModel("q8_0")));
        Assert.Equal(first.Hash.ToArray(), ModelIdentityReader.Read(again).Hash.ToArray());
    }
}
