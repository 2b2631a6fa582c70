using E2LLM.Deployment;
using E2LLM.Execution;
using E2LLM.Extensions.AI;
using E2LLM.Generation;
using E2LLM.Gguf;
using E2LLM.Replicas;
using E2LLM.Replicas.Stages;
using E2LLM.Tests.Replicas;
using E2LLM.Tests.Support;
using E2LLM.Weights;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;

namespace E2LLM.Tests.Extensions.AI;

/// <summary>The chat client over a deployment of the embedded model: a prefill replica and decode replicas, each of two real stages.</summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Design", "CA1001", Justification = "The runner calls DisposeAsync of IAsyncLifetime.")]
public sealed class DeployedChatClientTests : IAsyncLifetime
{
    private const string Prompt = "Once upon a time";
    private static readonly string Long = string.Join(' ', Enumerable.Repeat("The dog ran to the park.", 20));
    private readonly GgufFile _file = GgufFile.Open(TestModel.OwnModel("q8_0"));
    private readonly TextGenerator _alone = TextGenerator.Load(TestModel.OwnModel("q8_0"), new GeneratorOptions { Executor = new ExecutorOptions { ThreadCount = 1 } });
    private MemoryCluster _cluster = null!;
    private ReplicaPlan[] _plans = [];

    public Task InitializeAsync()
    {
        _cluster = new MemoryCluster { Model = ModelIdentityReader.Read(_file) };
        _plans = [_cluster.Add("p", ReplicaRole.Prefill, [1], Load), _cluster.Add("d", ReplicaRole.Decode, [2], Load), _cluster.Add("e", ReplicaRole.Decode, [2], Load)];
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _cluster.DisposeAsync();
        _alone.Dispose();
        _file.Dispose();
    }

    [Fact]
    public async Task GetStreamingResponse_OverADeployment_IsTheTextOfOneProcess()
    {
        await using Dispatcher dispatcher = await ConnectAsync();
        using var client = new E2LLMChatClient(dispatcher, _file);
        using var local = new E2LLMChatClient(_alone);
        foreach (ChatOptions options in new[]
        {
            new ChatOptions { MaxOutputTokens = 24 },
            new ChatOptions { MaxOutputTokens = 24, Temperature = 0.8f, TopP = 0.9f, Seed = 12, FrequencyPenalty = 0.5f },
            new ChatOptions { MaxOutputTokens = 60, StopSequences = ["."] },
        })
        {
            ChatResponse expected = await local.GetResponseAsync(Prompt, options);
            List<ChatResponseUpdate> updates = await CollectAsync(client, Prompt, options);
            Assert.Equal(expected.Text, string.Concat(updates.Select(update => update.Text)));
            Assert.Equal(expected.FinishReason, updates[^1].FinishReason);
            UsageDetails usage = updates.ToChatResponse().Usage!;
            Assert.Equal((expected.Usage!.InputTokenCount, expected.Usage.OutputTokenCount), (usage.InputTokenCount, usage.OutputTokenCount));
            Assert.True(updates.Count > 5);
        }

        await dispatcher.DisposeAsync();
        await _cluster.AssertEmptyAsync();
    }

    [Fact]
    public async Task GetResponse_PromptAskedTwice_CountsWhatWasCached()
    {
        await using Dispatcher dispatcher = await ConnectAsync();
        foreach (E2LLMChatClient client in new[] { new E2LLMChatClient(dispatcher, _file), new E2LLMChatClient(_alone) })
        {
            var options = new ChatOptions { MaxOutputTokens = 4 };
            ChatResponse first = await client.GetResponseAsync(Long, options), second = await client.GetResponseAsync(Long, options);
            Assert.Equal(first.Text, second.Text);
            Assert.Equal((0, first.Usage!.InputTokenCount), (first.Usage.CachedInputTokenCount, second.Usage!.InputTokenCount));
            Assert.Equal((second.Usage.InputTokenCount - 1) / 64 * 64, second.Usage.CachedInputTokenCount);
            Assert.True(second.Usage.CachedInputTokenCount > 0);
        }
    }

    [Fact]
    public async Task GetStreamingResponse_DeviceLostOrCallCancelled_GoesOnOrEnds()
    {
        await using (Dispatcher dispatcher = await ConnectAsync())
        {
            using var client = new E2LLMChatClient(dispatcher, _file);
            using var local = new E2LLMChatClient(_alone);
            var options = new ChatOptions { MaxOutputTokens = 30 };
            string text = "";
            int count = 0;
            await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync(Prompt, options))
            {
                text += update.Text;
                if (++count == 6)
                {
                    _cluster.Kill("d1");
                }
            }

            Assert.Equal((await local.GetResponseAsync(Prompt, options)).Text, text);
            using var stop = new CancellationTokenSource();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
            {
                await foreach (ChatResponseUpdate _ in client.GetStreamingResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 300 }, stop.Token))
                {
                    await stop.CancelAsync();
                }
            });
        }

        _cluster.Revive("d1");
        await _cluster.AssertEmptyAsync();
    }

    [Fact]
    public async Task GetResponse_BadRequestsAndNoReplica_AreTypedErrors()
    {
        await using Dispatcher dispatcher = await ConnectAsync();
        using var client = new E2LLMChatClient(dispatcher, _file);
        var biased = new GenerationOptions { Sampling = new() { LogitBias = new Dictionary<int, float> { [1_000_000] = 1f } } };
        Assert.Equal("LogitBias", (await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => client.GetResponseAsync(Prompt, new ChatOptions { RawRepresentationFactory = _ => biased }))).ParamName);
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => client.GetResponseAsync(string.Join(' ', Enumerable.Repeat("dog", 4000))));
        foreach (string device in new[] { "p0", "d0", "e0" })
        {
            _cluster.Kill(device);
        }

        await Assert.ThrowsAsync<NoReplicaException>(() => client.GetResponseAsync(Prompt));
    }

    [Fact]
    public async Task AddE2LLM_KeyedDeployments_AnswerAndReportTheirHealth()
    {
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Services
            .AddE2LLM("cluster", o =>
            {
                o.ModelPath = TestModel.OwnModel("q8_0");
                o.Deployment = (_, identity, ct) => ConnectAsync(identity, ct);
            })
            .AddE2LLM("here", o => o.ModelPath = TestModel.OwnModel("q8_0"));
        builder.Services.AddHealthChecks().AddE2LLM("cluster", name: "cluster").AddE2LLM("here", name: "here");
        using IHost host = builder.Build();
        await host.StartAsync();
        IChatClient client = host.Services.GetRequiredKeyedService<IChatClient>("cluster");
        Dispatcher dispatcher = host.Services.GetRequiredKeyedService<Dispatcher>("cluster");
        Assert.Same(dispatcher, client.GetService<Dispatcher>());
        Assert.Equal(("e2llm", _file.Metadata.GetString("general.name")), (client.GetService<ChatClientMetadata>()!.ProviderName, client.GetService<ChatClientMetadata>()!.DefaultModelId));
        Assert.Null(client.GetService<TextGenerator>());
        Assert.Throws<InvalidOperationException>(() => host.Services.GetRequiredKeyedService<TextGenerator>("cluster"));
        Assert.NotEmpty((await client.GetResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 3 })).Text);

        Assert.Equal((HealthStatus.Healthy, "3 of 3 replicas are connected."), await CheckAsync());
        _cluster.Kill("d0");
        await WaitAsync(() => dispatcher.Replicas.Count == 2);
        Assert.Equal((HealthStatus.Degraded, "2 of 3 replicas are connected."), await CheckAsync());
        Assert.NotEmpty((await client.GetResponseAsync(Prompt, new ChatOptions { MaxOutputTokens = 3 })).Text);
        _cluster.Kill("p1");
        _cluster.Kill("e1");
        await WaitAsync(() => dispatcher.Replicas.Count == 0);
        Assert.Equal((HealthStatus.Unhealthy, "0 of 3 replicas are connected."), await CheckAsync());
        await host.StopAsync();

        async Task<(HealthStatus, string?)> CheckAsync()
        {
            HealthReport report = await host.Services.GetRequiredService<HealthCheckService>().CheckHealthAsync();
            Assert.Equal(HealthStatus.Healthy, report.Entries["here"].Status);
            return (report.Entries["cluster"].Status, report.Entries["cluster"].Description);
        }
    }

    [Fact]
    public async Task AddE2LLM_DeploymentThatCannotConnect_HostDoesNotStart()
    {
        _cluster.Kill("d1");
        HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Services.AddE2LLM(o =>
        {
            o.ModelPath = TestModel.OwnModel("q8_0");
            o.Deployment = (_, identity, ct) => ConnectAsync(identity, ct);
        });
        using IHost host = builder.Build();
        Assert.Equal("d1", (await Assert.ThrowsAsync<PeerLostException>(() => host.StartAsync())).Peer);
    }

    private static async Task<List<ChatResponseUpdate>> CollectAsync(IChatClient client, string prompt, ChatOptions options)
    {
        var updates = new List<ChatResponseUpdate>();
        await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync(prompt, options))
        {
            updates.Add(update);
        }

        return updates;
    }

    private static async Task WaitAsync(Func<bool> condition)
    {
        for (int i = 0; i < 1000 && !condition(); i++)
        {
            await Task.Delay(10);
        }

        Assert.True(condition());
    }

    private Task<Dispatcher> ConnectAsync() => ConnectAsync(_cluster.Model, default);

    private Task<Dispatcher> ConnectAsync(ModelIdentity identity, CancellationToken ct) => Dispatcher.ConnectAsync(
        new DeploymentPlan { Planner = "test", ModelName = identity.Shape.Name, Objective = new PlanObjective { Kind = "capacity" }, Replicas = _plans },
        identity, _cluster.ConnectAsync, _cluster.Options with { KvElementType = KvElementType.F16, ChunkTokenCount = 128 }, cancellationToken: ct);

    private LayerRangeStageExecutor Load(LayerRange layers)
    {
        ModelWeights weights = ModelWeights.Load(_file, _cluster.Model.Shape, layers, layers.Start == 0, layers.End == _cluster.Model.Shape.LayerCount);
        var executor = new LayerRangeExecutor(weights, new ExecutorOptions { ThreadCount = 1, KvElementType = KvElementType.F16, KvBlockCount = 32 });
        _cluster.Own(weights);
        _cluster.Own(executor);
        return new LayerRangeStageExecutor(executor);
    }
}
