using E2LLM.Deployment;
using E2LLM.Diagnostics;
using E2LLM.Replicas;

namespace E2LLM.Tests.Replicas;

/// <summary>Metrics against what can be counted by hand.</summary>
public sealed class RecordedMetricsTests
{
    [Fact]
    public async Task Serve_OneRequest_TransferAndStepsAreRecordedOnceEach()
    {
        using var log = new MetricLog("mt1-");
        await using var cluster = new MemoryCluster { ChunkTokenCount = 48 };
        await using Dispatcher dispatcher = await cluster.DispatchAsync(
            new DispatcherOptions { NextTurnTokenCount = 0 }, cluster.Add("mt1-p", ReplicaRole.Prefill, 4), cluster.Add("mt1-d", ReplicaRole.Decode, 3));
        for (int round = 1; round <= 2; round++)
        {
            Assert.Equal(6, (await DispatcherTests.CollectAsync(dispatcher.Serve(DispatcherTests.Request(130, 6)))).Count);
            foreach ((string device, int layers) in new[] { ("mt1-d0", 3), ("mt1-d1", 5) })
            {
                // The second time only the two tokens move that no kept page holds.
                Assert.Equal((130 + (2 * (round - 1))) * layers * 64.0, log.Of(Telemetry.KvTransferBytes, device).Sum());
                Assert.Equal(round, log.Of(Telemetry.KvTransferDuration, device).Length);
                Assert.All(log.Of(Telemetry.KvTransferDuration, device), seconds => Assert.InRange(seconds, 0, 60));

                // The last token is sampled by the step before it.
                await WaitAsync(() => log.Of(Telemetry.StageDuration, device, "1").Length == 5 * round);
            }
        }

        // 130 tokens in chunks of 48, then the two tokens that no kept page holds.
        foreach (string device in new[] { "mt1-p0", "mt1-p1" })
        {
            Assert.Equal(3, log.Of(Telemetry.StageDuration, device, "9-64").Length);
            Assert.Single(log.Of(Telemetry.StageDuration, device, "2-8"));
            Assert.Equal(cluster.Toy(device).ForwardCount, log.Of(Telemetry.StageDuration, device).Length);
        }

        Assert.Equal([130, 130], log.Of(Telemetry.PromptTokens, "mt1-p"));
        Assert.Equal([0, 128], log.Of(Telemetry.PromptTokensReused, "mt1-p"));
    }

    [Fact]
    public async Task Serve_HeldUpStage_QueuesAndBlocksShow()
    {
        using var log = new MetricLog("mt2-");
        using var gate = new SemaphoreSlim(0);
        await using var cluster = new MemoryCluster { ChunkTokenCount = 16, MaxSequenceCount = 1 };
        await using (Dispatcher dispatcher = await cluster.DispatchAsync(cluster.Add("mt2-m", ReplicaRole.Mixed, 4)))
        {
            cluster.Toy("mt2-m0").BeforeForward = () => gate.Wait(TimeSpan.FromSeconds(20));
            Task<List<int>>[] served = [.. Enumerable.Range(0, 5).Select(i => DispatcherTests.CollectAsync(dispatcher.Serve(DispatcherTests.Request(100, 40, salt: i))))];

            // One is let in, with three blocks for 140 positions; four wait. One step is held, two more wait at the first stage. (With two let in, the opening
            // of the second could wait behind the first one's steps.)
            await WaitAsync(() => log.Ask(Telemetry.RequestQueueLength, "mt2-m") == 4);
            await WaitAsync(() => log.Ask(Telemetry.StageQueueLength, "mt2-m0") == 3);
            Assert.Equal(3, log.Ask(Telemetry.KvBlocksUsed, "mt2-m0"));
            Assert.Equal((0, 0), (log.Ask(Telemetry.StageQueueLength, "mt2-m1"), log.Ask(Telemetry.KvBlocksKept, "mt2-m0")));
            gate.Release(10_000);
            await Task.WhenAll(served);
            await WaitAsync(() => log.Ask(Telemetry.KvBlocksUsed, "mt2-m0") == 0);
            await WaitAsync(() => log.Ask(Telemetry.StageQueueLength, "mt2-m0") == 0);
            Assert.Equal(0, log.Ask(Telemetry.RequestQueueLength, "mt2-m"));

            // 139 positions of each were computed: two whole pages.
            Assert.Equal(5 * 2, log.Ask(Telemetry.KvBlocksKept, "mt2-m0"));
        }

        await cluster.AssertEmptyAsync();
        Assert.Equal(0, log.Ask(Telemetry.KvBlocksKept, "mt2-m0"));
    }

    private static async Task WaitAsync(Func<bool> condition)
    {
        for (int i = 0; i < 1000 && !condition(); i++)
        {
            await Task.Delay(10);
        }

        Assert.True(condition());
    }
}
