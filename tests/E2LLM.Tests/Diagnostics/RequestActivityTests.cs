using System.Diagnostics;
using E2LLM.Deployment;
using E2LLM.Diagnostics;
using E2LLM.Generation;
using E2LLM.Replicas;
using E2LLM.Sampling;
using E2LLM.Tests.Replicas;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Diagnostics;

/// <summary>The span of a request, in the words of OpenTelemetry's conventions for generative AI.</summary>
public sealed class RequestActivityTests
{
    private static readonly SamplingOptions Sampling = new() { Temperature = 0.5f, TopP = 0.75f, TopK = 20, FrequencyPenalty = 0.25f, Seed = 31 };

    [Fact]
    public async Task Generator_OneText_IsASpanOfTheConventions()
    {
        using TextGenerator generator = TextGenerator.Load(TestModel.OwnModel("q8_0"));
        var prompt = generator.Tokenizer.Encode(string.Join(' ', Enumerable.Repeat("The dog ran.", 30)));
        (Activity first, _) = await TraceAsync(() => Run(generator, prompt));
        (Activity second, Activity caller) = await TraceAsync(() => Run(generator, prompt));
        Assert.Equal(($"text_completion {generator.Shape.Name}", ActivityKind.Internal, caller.SpanId), (second.DisplayName, second.Kind, second.ParentSpanId));
        Check(second, generator.Shape.Name, prompt.Count, 6, "length");
        Assert.Equal(0, first.GetTagItem("gen_ai.usage.cache_read.input_tokens"));
        Assert.Equal(prompt.Count / 64 * 64, second.GetTagItem("gen_ai.usage.cache_read.input_tokens"));
        Assert.Equal(ActivityStatusCode.Unset, second.Status);
    }

    [Fact]
    public async Task Dispatcher_OneRequest_IsASpanOfTheConventionsAndOurOwn()
    {
        await using MemoryCluster cluster = Cluster("span");
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("d", ReplicaRole.Decode, 3));
        ServingRequest request = DispatcherTests.Request(70, 6, Sampling);
        (Activity span, _) = await TraceAsync(() => DispatcherTests.CollectAsync(dispatcher.Serve(request)));
        Assert.Equal(("text_completion span", ActivityKind.Client), (span.DisplayName, span.Kind));
        Check(span, "span", 70, 6, "length");
        Assert.Equal(("p", "d", 0), (span.GetTagItem("e2llm.replica.prefill"), span.GetTagItem("e2llm.replica.decode"), span.GetTagItem("e2llm.request.recoveries")));
        Assert.Equal(70L * 8 * 64, span.GetTagItem("e2llm.kv.transfer.bytes"));

        (Activity stopped, _) = await TraceAsync(() => DispatcherTests.CollectAsync(dispatcher.Serve(request with { EndsAt = _ => true })));
        Assert.Equal(["stop"], (string[])stopped.GetTagItem("gen_ai.response.finish_reasons")!);
    }

    [Fact]
    public async Task Dispatcher_LastReplicaLost_SpanHasTheError()
    {
        await using MemoryCluster cluster = Cluster("broken-span");
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("m", ReplicaRole.Mixed, 4));
        (Activity span, _) = await TraceAsync(() => Assert.ThrowsAsync<NoReplicaException>(async () =>
        {
            await foreach (int _ in dispatcher.Serve(DispatcherTests.Request(10, 50)))
            {
                cluster.Kill("m1");
            }
        }));
        Assert.Equal((ActivityStatusCode.Error, "E2LLM.Replicas.NoReplicaException"), (span.Status, span.GetTagItem("error.type")));
        Assert.Null(span.GetTagItem("gen_ai.response.finish_reasons"));
    }

    private static MemoryCluster Cluster(string model) => new() { Model = new ModelIdentity(ToyExecutor.ToyShape(8) with { Name = model }, new byte[32], new byte[32]) };

    private static void Check(Activity span, string model, int input, int output, string finish)
    {
        Assert.Equal(
            ("text_completion", "e2llm", model, input, output, 6),
            (span.GetTagItem("gen_ai.operation.name"), span.GetTagItem("gen_ai.provider.name"), span.GetTagItem("gen_ai.request.model"), span.GetTagItem("gen_ai.usage.input_tokens"),
                span.GetTagItem("gen_ai.usage.output_tokens"), span.GetTagItem("gen_ai.request.max_tokens")));
        Assert.Equal(
            (0.5, 0.75, 20, 0.25, 0.0, 31L),
            (span.GetTagItem("gen_ai.request.temperature"), span.GetTagItem("gen_ai.request.top_p"), span.GetTagItem("gen_ai.request.top_k"), span.GetTagItem("gen_ai.request.frequency_penalty"),
                span.GetTagItem("gen_ai.request.presence_penalty"), span.GetTagItem("gen_ai.request.seed")));
        Assert.Equal([finish], (string[])span.GetTagItem("gen_ai.response.finish_reasons")!);
    }

    private static async Task Run(TextGenerator generator, IReadOnlyList<int> prompt)
    {
        await foreach (GeneratedToken _ in generator.GenerateAsync(prompt, new GenerationOptions { MaxTokenCount = 6, Sampling = Sampling }))
        {
        }
    }

    /// <summary>The request's span under a span of its caller; other tests run beside.</summary>
    private static async Task<(Activity Request, Activity Caller)> TraceAsync(Func<Task> action)
    {
        using var stopped = new StoppedActivities();
        using var caller = new Activity("caller");
        caller.SetIdFormat(ActivityIdFormat.W3C).Start();
        await action();
        caller.Stop();
        return (stopped.All.Single(activity => activity.OperationName == Telemetry.RequestActivity && activity.TraceId == caller.TraceId), caller);
    }
}
