using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using E2LLM.Deployment;
using E2LLM.Diagnostics;
using E2LLM.Replicas;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Replicas;

public sealed class TelemetryTests
{
    [Fact]
    public async Task Serve_OneRequestAndOneLoss_IsMeasured()
    {
        // Other tests run beside this one: only devices of these names count.
        var seen = new ConcurrentDictionary<string, double>();
        using var meters = new MeterListener();
        meters.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Name == Telemetry.SourceName)
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        meters.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Count(instrument.Name, value, tags));
        meters.SetMeasurementEventCallback<int>((instrument, value, tags, _) => Count(instrument.Name, value, tags));
        meters.SetMeasurementEventCallback<double>((instrument, _, tags, _) => Count(instrument.Name, 1, tags));
        meters.Start();
        using var activities = new StoppedActivities();

        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("tele-p", ReplicaRole.Prefill, 4), cluster.Add("tele-d", ReplicaRole.Decode, 3), cluster.Add("tele-e", ReplicaRole.Decode));
        ServedRequest served = dispatcher.Serve(DispatcherTests.Request(20, 60));
        int delivered = 0;
        await foreach (int token in served)
        {
            if (++delivered == 3)
            {
                meters.RecordObservableInstruments();
                cluster.Kill(served.Report.DecodeReplica == "tele-d" ? "tele-d1" : "tele-e0");
            }
        }

        Assert.True(seen[Telemetry.KvTransferBytes] > 0);
        Assert.True(seen[Telemetry.KvTransferDuration] > 0);
        Assert.True(seen[Telemetry.StageDuration] > 0);
        Assert.True(seen[Telemetry.KvBlocksUsed] > 0);
        Assert.True(seen[Telemetry.PeerLost] > 0);
        Assert.Contains(activities.All, activity => activity.OperationName == Telemetry.RequestActivity
            && activity.GetTagItem("e2llm.replica.prefill") as string == "tele-p" && activity.GetTagItem("gen_ai.usage.output_tokens") is 60 && activity.GetTagItem("e2llm.request.recoveries") is 1);

        void Count(string name, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            foreach (KeyValuePair<string, object?> tag in tags)
            {
                if (tag.Value is string text && text.StartsWith("tele-", StringComparison.Ordinal))
                {
                    seen.AddOrUpdate(name, value, (_, sum) => sum + value);
                    return;
                }
            }
        }
    }

    [Fact]
    public async Task Serve_DecodeReplicasOfUnlikeSpeed_SharesTheLoadAsPlanned()
    {
        await using var cluster = new MemoryCluster();
        await using Dispatcher dispatcher = await cluster.DispatchAsync(
            cluster.Add("p", ReplicaRole.Prefill, 4),
            cluster.Add("fast", ReplicaRole.Decode) with { DecodeTokensPerSecond = 300 },
            cluster.Add("slow", ReplicaRole.Decode, 2) with { DecodeTokensPerSecond = 100 });
        ServedRequest[] served = [.. Enumerable.Range(0, 8).Select(i => dispatcher.Serve(DispatcherTests.Request(5, 200, salt: i)))];
        var started = new List<IAsyncEnumerator<int>>();
        foreach (ServedRequest request in served)
        {
            // Held open: each counts when the next is placed.
            IAsyncEnumerator<int> tokens = request.GetAsyncEnumerator();
            Assert.True(await tokens.MoveNextAsync());
            started.Add(tokens);
        }

        Assert.Equal((6, 2), (served.Count(request => request.Report.DecodeReplica == "fast"), served.Count(request => request.Report.DecodeReplica == "slow")));
        foreach (IAsyncEnumerator<int> tokens in started)
        {
            await tokens.DisposeAsync();
        }
    }
}
