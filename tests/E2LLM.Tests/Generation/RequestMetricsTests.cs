using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using E2LLM.Deployment;
using E2LLM.Diagnostics;
using E2LLM.Execution;
using E2LLM.Generation;
using E2LLM.Replicas;
using E2LLM.Tests.Replicas;
using E2LLM.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace E2LLM.Tests.Generation;

public sealed class RequestMetricsTests
{
    private readonly ConcurrentQueue<(string Name, double Value, Dictionary<string, object?> Tags)> _seen = [];

    [Fact]
    public async Task Measure_ManualClock_RecordsWhatTheClockSays()
    {
        var clock = new ManualTime();
        using MeterListener listener = Listen("by hand");
        await foreach (int _ in Follow(Tokens(), "by hand", clock))
        {
        }

        // 2 s to the first token, 3 s each for the next two, 1 s more to the end.
        Assert.Equal(9, Value(Telemetry.RequestDuration), 1e-9);
        Assert.Equal(2, Value(Telemetry.TimeToFirstToken), 1e-9);
        Assert.Equal(3, Value(Telemetry.TimePerOutputToken), 1e-9);
        Assert.All(_seen, value => Assert.Equal(("text_completion", "e2llm", false), (value.Tags["gen_ai.operation.name"], value.Tags["gen_ai.provider.name"], value.Tags.ContainsKey("error.type"))));

        async IAsyncEnumerable<int> Tokens()
        {
            for (int i = 0; i < 3; i++)
            {
                clock.Advance(TimeSpan.FromSeconds(i == 0 ? 2 : 3));
                await Task.Yield();
                yield return i;
            }

            clock.Advance(TimeSpan.FromSeconds(1));
        }
    }

    [Fact]
    public async Task Measure_Failure_IsTaggedAndPassedOn()
    {
        using MeterListener listener = Listen("failing");
        await Assert.ThrowsAsync<IOException>(async () =>
        {
            await foreach (int _ in Follow(Failing(), "failing", TimeProvider.System))
            {
            }
        });
        (string name, _, Dictionary<string, object?> tags) = Assert.Single(_seen);
        Assert.Equal((Telemetry.RequestDuration, "System.IO.IOException"), (name, tags["error.type"]));

        static async IAsyncEnumerable<int> Failing()
        {
            await Task.Yield();
            throw new IOException("gone");
#pragma warning disable CS0162 // An iterator needs a yield.
            yield return 0;
#pragma warning restore CS0162
        }
    }

    [Fact]
    public async Task Generator_OneText_IsMeasured()
    {
        using TextGenerator generator = TextGenerator.Load(TestModel.OwnModel("q8_0"), new GeneratorOptions { Executor = new ExecutorOptions { ThreadCount = 1 } });
        using MeterListener listener = Listen(generator.Shape.Name);
        await foreach (GeneratedToken _ in generator.GenerateAsync("The dog", new GenerationOptions { MaxTokenCount = 3 }))
        {
        }

        // Other tests may run the same model beside this one.
        Assert.True(_seen.Select(value => value.Name).Distinct().Count() == 3);
        Assert.All(_seen, value => Assert.True(value.Value >= 0));
    }

    [Fact]
    public async Task Dispatcher_OneRequest_IsMeasured()
    {
        await using var cluster = new MemoryCluster { Model = new ModelIdentity(ToyExecutor.ToyShape(8) with { Name = "toy-measured" }, new byte[32], new byte[32]) };
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("p", ReplicaRole.Prefill, 4), cluster.Add("d", ReplicaRole.Decode, 3));
        using MeterListener listener = Listen("toy-measured");
        await DispatcherTests.CollectAsync(dispatcher.Serve(DispatcherTests.Request(9, 5)));
        Assert.Equal(
            [Telemetry.RequestDuration, Telemetry.TimePerOutputToken, Telemetry.TimeToFirstToken], _seen.Select(value => value.Name).Order());
    }

    [Fact]
    public void Names_AreThoseOfTheConventions() => Assert.Equal(
        ("gen_ai.server.request.duration", "gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token", "E2LLM"),
        (Telemetry.RequestDuration, Telemetry.TimeToFirstToken, Telemetry.TimePerOutputToken, Telemetry.SourceName));

    private static async IAsyncEnumerable<int> Follow(IAsyncEnumerable<int> tokens, string model, TimeProvider clock)
    {
        using var watch = new RequestWatch(NullLogger.Instance, model, ActivityKind.Internal, 1, 10, clock);
        await foreach (int token in watch.Follow(tokens))
        {
            yield return token;
        }
    }

    private double Value(string name) => Assert.Single(_seen, value => value.Name == name).Value;

    private MeterListener Listen(string model)
    {
        var listener = new MeterListener
        {
            InstrumentPublished = (instrument, own) =>
            {
                if (instrument.Meter.Name == Telemetry.SourceName && instrument.Name.StartsWith("gen_ai.", StringComparison.Ordinal))
                {
                    own.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) =>
        {
            Dictionary<string, object?> all = tags.ToArray().ToDictionary(tag => tag.Key, tag => tag.Value);
            if (all.GetValueOrDefault(Telemetry.ModelTag) as string == model)
            {
                _seen.Enqueue((instrument.Name, value, all));
            }
        });
        listener.Start();
        return listener;
    }
}
