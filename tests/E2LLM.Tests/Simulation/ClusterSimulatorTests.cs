using System.Text.Json;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Simulation;
using E2LLM.Simulation.Models;
using E2LLM.Simulation.Workloads;

namespace E2LLM.Tests.Simulation;

/// <summary>Laws that hold for every plan, policy and workload: nothing is lost, nothing is invented, and the same seed repeats.</summary>
public class ClusterSimulatorTests
{
    public static TheoryData<string, RouterKind, KvPush, KvAdmission, PrefillBatching> Policies()
    {
        var data = new TheoryData<string, RouterKind, KvPush, KvAdmission, PrefillBatching>();
        foreach (string plan in (string[])["split", "mixed", "singles"])
        {
            foreach (RouterKind router in Enum.GetValues<RouterKind>())
            {
                data.Add(plan, router, KvPush.Overlapped, KvAdmission.Reserve, PrefillBatching.Chunked);
                data.Add(plan, router, KvPush.AfterPrefill, KvAdmission.Paged, PrefillBatching.WholePrompts);
            }
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Policies))]
    public void Run_UnderAnyPolicy_ConservesRequestsTokensAndBytes(
        string planName, RouterKind router, KvPush push, KvAdmission admission, PrefillBatching batching)
    {
        DeploymentPlan plan = PlanOf(planName);
        var options = new SimulationOptions { Router = router, KvPush = push, KvAdmission = admission, Batching = batching, BootstrapCount = 0, MixedPoolPromptTokens = 1024 };
        foreach (double rate in (double[])[0.5, 4, 40])
        {
            IReadOnlyList<SimulatedRequest> requests = RequestGenerator.Generate(SmallDeployment.Load(rate), 300, seed: 5);
            ServingReport report = ClusterSimulator.Run(plan, SmallDeployment.Cluster, SmallDeployment.Model, requests, options);
            CheckConservation(report, requests);
            if (admission == KvAdmission.Reserve)
            {
                Assert.Equal(requests.Sum(r => (long)Math.Max(1, r.PromptTokens)), report.PrefilledTokens);
                Assert.Equal(ExpectedKvBytes(report), report.KvBytesMoved, 1.0);
            }
        }
    }

    [Theory]
    [InlineData("split", 300, 60)]
    [InlineData("mixed", 300, 60)]
    [InlineData("singles", 2000, 400)]
    [InlineData("split", 1, 1)]
    [InlineData("split", 700, 2)]
    public void Waiting_OfARequestThatIsAlone_IsZero(string planName, int prompt, int output)
    {
        SimulatedRequest[] requests = [new(1, prompt, output), new(1000, prompt, output)];
        ServingReport report = ClusterSimulator.Run(
            PlanOf(planName), SmallDeployment.Cluster, SmallDeployment.Model, requests, new SimulationOptions { Router = RouterKind.LeastDelay });
        Assert.Equal(0, report.WaitingSeconds.Mean, 1e-9);
        Assert.Equal(0, report.KvWaitSeconds, 1e-9);
        Assert.InRange(report.EndToEndSeconds.Mean, 1e-6, 900);
    }

    [Fact]
    public void Waiting_OfARouterThatTakesTheSlowWay_IsNeverNegative()
    {
        SimulatedRequest[] requests = [.. Enumerable.Range(0, 20).Select(i => new SimulatedRequest(100.0 * i, 300, 60))];
        foreach (RouterKind router in Enum.GetValues<RouterKind>())
        {
            ServingReport report = ClusterSimulator.Run(
                SmallDeployment.FourSingles, SmallDeployment.Cluster, SmallDeployment.Model, requests, new SimulationOptions { Router = router });
            Assert.All(report.Requests, r => Assert.True(r.EndSeconds - r.Request.ArrivalSeconds >= report.MeanServiceSeconds - 1e-9));
        }
    }

    [Fact]
    public void Waiting_WhereAFastPrefillReplicaIsLentToDecode_IsNeverNegative()
    {
        // The one decode slot is slow: the pool keeps most sequences where their prompts were computed, which is the best route of this plan.
        DeploymentPlan plan = SmallDeployment.Plan(SmallDeployment.Replica("p", ReplicaRole.Prefill, 0, ("a", 0, 8)), SmallDeployment.Replica("d", ReplicaRole.Decode, 1, ("d", 0, 8)));
        SimulatedRequest[] requests = [.. Enumerable.Range(0, 60).Select(i => new SimulatedRequest(0.5 * i, 300, 100))];

        ServingReport report = ClusterSimulator.Run(plan, SmallDeployment.Cluster, SmallDeployment.Model, requests, new SimulationOptions { Router = RouterKind.MixedPool });

        Assert.Contains(report.Requests, r => r.DecodeReplica == 0);
        Assert.All(report.Requests, r => Assert.True(r.EndSeconds - r.Request.ArrivalSeconds >= report.MeanServiceSeconds - 1e-9));
    }

    [Fact]
    public void Run_WithTheSameSeed_WritesTheSameBytes()
    {
        var options = new SimulationOptions { Seed = 9, Router = RouterKind.PowerOfTwo };
        ServingReport Run() => ClusterSimulator.Run(SmallDeployment.FourSingles, SmallDeployment.Cluster, SmallDeployment.Model, SmallDeployment.Load(5), 400, options);
        ServingReport first = Run(), second = Run();
        Assert.Equal(first.ToJson(), second.ToJson());
        Assert.Equal(first.LogHash, second.LogHash);
        ServingReport other = ClusterSimulator.Run(
            SmallDeployment.FourSingles, SmallDeployment.Cluster, SmallDeployment.Model, SmallDeployment.Load(5), 400, options with { Seed = 10 });
        Assert.NotEqual(first.LogHash, other.LogHash);
    }

    [Fact]
    public void Run_OfZeroLengthsAndEqualTimes_GivesTheRightAnswer()
    {
        SimulatedRequest[] requests = [new(0, 0, 0), new(0, 0, 3), new(0, 5, 0), new(0, 5, 1), new(0, 5, 2), new(0, 5, 2)];
        ServingReport report = ClusterSimulator.Run(SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, requests);
        Assert.Equal(6, report.RequestCount);
        Assert.Equal(8, report.GeneratedTokens);
        Assert.Equal(0, report.Requests[0].EndSeconds);
        Assert.True(report.Requests[2].EndSeconds > 0);
        CheckConservation(report, requests);
    }

    [Fact]
    public void Run_OfAnOverloadTenfold_GrowsAsALine()
    {
        // Far above capacity every further request waits one service period more, less one arrival period.
        IReadOnlyList<SimulatedRequest> Requests(int n) => [.. Enumerable.Range(0, n).Select(i => new SimulatedRequest(i * 0.01, 200, 50))];
        double Mean(int n) => ClusterSimulator.Run(SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, Requests(n)).WaitingSeconds.Mean;
        double slope = (Mean(800) - Mean(400)) / 400;
        ServingReport long_ = ClusterSimulator.Run(SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, Requests(1600));
        double expected = ((1 / long_.RequestsPerSecond) - 0.01) / 2;
        Assert.InRange(slope / expected, 0.97, 1.03);
    }

    [Fact]
    public void Run_OfARequestThatFitsNowhere_NamesItOrDropsIt()
    {
        SimulatedRequest[] requests = [new(0, 10, 10), new(1, 4_000_000, 10)];
        var error = Assert.Throws<ArgumentException>(() => ClusterSimulator.Run(SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, requests));
        Assert.Contains("Request 1", error.Message, StringComparison.Ordinal);
        ServingReport report = ClusterSimulator.Run(
            SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, requests, new SimulationOptions { Oversized = OversizedRequests.Drop });
        Assert.Equal((1, 1), (report.RequestCount, report.DroppedCount));
    }

    [Fact]
    public void Run_OfRequestsOutOfOrder_Throws() => Assert.Throws<ArgumentException>(() => ClusterSimulator.Run(
        SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, [new SimulatedRequest(1, 1, 1), new SimulatedRequest(0, 1, 1)]));

    [Fact]
    public void PassSeconds_OfPurePasses_EqualTheCostModel()
    {
        DeviceProfile device = SmallDeployment.Cluster.Devices[2];
        var layers = new LayerRange(1, 8);
        var times = new CostStageTimes(device, SmallDeployment.Model, layers, embedding: false, head: true, spilledBytes: 0);
        foreach ((int tokens, double context) in ((int, double)[])[(1, 0), (64, 0), (512, 100), (3000, 700)])
        {
            double prefill = StageCost.PrefillSeconds(device, SmallDeployment.Model, layers, false, true, tokens, context);
            double decode = StageCost.DecodeSeconds(device, SmallDeployment.Model, layers, false, true, tokens, context);
            Assert.Equal(1, times.PassSeconds(tokens, context, 0, 0, 1) / prefill, 1e-12);
            Assert.Equal(1, times.PassSeconds(0, 0, tokens, context, tokens) / decode, 1e-12);

            // A joint pass costs at least the dearer of its halves and at most their sum.
            Assert.InRange(times.PassSeconds(tokens, context, 8, 300, 8), prefill, prefill + StageCost.DecodeSeconds(device, SmallDeployment.Model, layers, false, true, 8, 300));
        }
    }

    [Fact]
    public void ToJson_OfAReport_HasTheFormatsProperties()
    {
        ServingReport report = ClusterSimulator.Run(SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, SmallDeployment.Load(2), 50);
        using JsonDocument json = JsonDocument.Parse(report.ToJson());
        Assert.Equal(
            ["requests", "seed", "router", "waitingSeconds", "ttftSeconds", "tpotSeconds", "endToEndSeconds", "longestGapSeconds", "requestsPerSecond",
                "tokensPerSecond", "goodputRequestsPerSecond", "kvBytesMoved", "utilisation"],
            json.RootElement.EnumerateObject().Select(p => p.Name));
        Assert.Equal(
            ["mean", "std", "p50", "p90", "p99", "ci95", "prefillQueue", "kvWait", "decodeQueue"],
            json.RootElement.GetProperty("waitingSeconds").EnumerateObject().Select(p => p.Name));
        Assert.Equal(["replica", "stage", "device", "busyFraction"], json.RootElement.GetProperty("utilisation")[0].EnumerateObject().Select(p => p.Name));
        Assert.Equal("jsq-wait", json.RootElement.GetProperty("router").GetString());
    }

    [Fact]
    public void Timeline_OfARun_IsATraceThatViewersRead()
    {
        var timeline = new SimulationTimeline();
        ClusterSimulator.Run(SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, SmallDeployment.Load(2), 20, timeline: timeline);
        using var stream = new MemoryStream();
        timeline.WriteChromeTrace(stream);
        using JsonDocument json = JsonDocument.Parse(stream.ToArray());
        JsonElement events = json.RootElement.GetProperty("traceEvents");
        Assert.Equal(timeline.Count + 4, events.GetArrayLength());
        Assert.Contains(events.EnumerateArray(), e => e.GetProperty("name").GetString()!.StartsWith("KV of", StringComparison.Ordinal));

        // No two passes overlap on one device.
        foreach (var device in events.EnumerateArray().Where(e => e.GetProperty("ph").GetString() == "X" && e.GetProperty("tid").GetInt32() == 0)
            .GroupBy(e => e.GetProperty("pid").GetInt32()))
        {
            double free = 0;
            foreach ((double start, double duration) in device.Select(e => (e.GetProperty("ts").GetDouble(), e.GetProperty("dur").GetDouble())).Order())
            {
                Assert.True(start >= free - 1e-3);
                free = start + duration;
            }
        }
    }

    [Fact]
    public void Run_AsTheDispatcherRoutes_LeavesAReplicaThatLatencyLimitsUntilTheOtherIsFull()
    {
        // Both have the rate of six sequences in 41 ms; one takes 105 ms for a token even of a single one.
        PlanBottleneck latency = new() { Kind = "latency", At = "d0", Seconds = 0.105 }, stage = new() { Kind = "stage", At = "d", Seconds = 0.041 };
        DeploymentPlan plan = SmallDeployment.Plan(
            SmallDeployment.FourSingles.Replicas[0],
            SmallDeployment.Replica("d0", ReplicaRole.Decode, 4, ("c", 0, 8)) with { DecodeTokensPerSecond = 146, Bottleneck = latency },
            SmallDeployment.Replica("d1", ReplicaRole.Decode, 4, ("d", 0, 8)) with { DecodeTokensPerSecond = 146, Bottleneck = stage });
        SimulatedRequest[] requests = [.. Enumerable.Range(0, 6).Select(i => new SimulatedRequest(0.0, 20 + i, 400))];
        var options = new SimulationOptions { Router = RouterKind.Dispatcher, BootstrapCount = 0 };
        ServingReport report = ClusterSimulator.Run(plan, SmallDeployment.Cluster, SmallDeployment.Model, requests, options);
        Assert.Equal([2, 2, 2, 2, 1, 1], report.Requests.OrderBy(r => r.Request.PromptTokens).Select(r => r.DecodeReplica));
    }

    [Fact]
    public void Run_AsTheDispatcherRoutes_CountsAPromptAsAheadUntilAllOfItIsRead()
    {
        // Two like replicas. A long prompt goes to the first, a short one to the second; when the third comes, most of the long one has been through a pass, and little of it is left: but who hears of whole prompts only
        // still has all of it ahead, and sends the third behind the short one.
        DeploymentPlan plan = SmallDeployment.Plan(
            SmallDeployment.Replica("p0", ReplicaRole.Prefill, 0, ("a", 0, 8)) with { PrefillTokensPerSecond = 1000 },
            SmallDeployment.Replica("p1", ReplicaRole.Prefill, 0, ("b", 0, 8)) with { PrefillTokensPerSecond = 1000 },
            SmallDeployment.Replica("d", ReplicaRole.Decode, 4, ("c", 0, 8)));
        var options = new SimulationOptions { Router = RouterKind.Dispatcher, ChunkTokens = 64, BootstrapCount = 0 };
        ServingReport first = ClusterSimulator.Run(plan, SmallDeployment.Cluster, SmallDeployment.Model, [new(0, 1024, 2)], options);
        double almostRead = first.Requests[0].FirstTokenSeconds * 0.95;
        ServingReport report = ClusterSimulator.Run(
            plan, SmallDeployment.Cluster, SmallDeployment.Model, [new(0, 1024, 2), new(almostRead, 512, 2), new(almostRead, 64, 2)], options);
        Assert.Equal([0, 1, 1], report.Requests.OrderBy(request => request.Id).Select(request => request.PrefillReplica));
    }

    [Fact]
    public void Run_AsTheDispatcherRoutes_SendsKeysAndValuesOfAStagesLastLayerBesideItsActivations()
    {
        // One prompt alone: pushed behind the passes it reaches its first token later than pushed afterwards by what the one hop of the prefill replica shares its port with.
        double Ttft(KvPush push) => ClusterSimulator.Run(
            SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, [new SimulatedRequest(0, 64, 2)],
            new SimulationOptions { Router = RouterKind.Dispatcher, KvPush = push, BootstrapCount = 0 }).Requests[0].FirstTokenSeconds;
        double besides = 64.0 * SmallDeployment.Model.Layers[4].KvBytesPerToken;
        Assert.InRange(besides, 1, 64.0 * SmallDeployment.Model.HiddenStateBytes);
        Assert.Equal(besides / 2e7, Ttft(KvPush.Overlapped) - Ttft(KvPush.AfterPrefill), 1e-9);
    }

    [Fact]
    public void MixedReplica_BesideADecodeReplica_GivesItPromptsWhenThatIsSooner()
    {
        DeploymentPlan plan = SmallDeployment.Plan(
            SmallDeployment.Replica("m", ReplicaRole.Mixed, 2, ("b", 0, 8)), SmallDeployment.Replica("d", ReplicaRole.Decode, 8, ("c", 0, 8)));
        foreach (RouterKind router in Enum.GetValues<RouterKind>())
        {
            IReadOnlyList<SimulatedRequest> requests = RequestGenerator.Generate(SmallDeployment.Load(3), 200, seed: 4);
            ServingReport report = ClusterSimulator.Run(
                plan, SmallDeployment.Cluster, SmallDeployment.Model, requests, new SimulationOptions { Router = router, BootstrapCount = 0 });
            CheckConservation(report, requests);
            Assert.Contains(report.Requests, r => r.DecodeReplica == 1);
            Assert.Equal(ExpectedKvBytes(report), report.KvBytesMoved, 1.0);
        }
    }

    private static DeploymentPlan PlanOf(string name) => name switch
    {
        "split" => SmallDeployment.Split,
        "mixed" => SmallDeployment.Mixed,
        _ => SmallDeployment.FourSingles,
    };

    private static void CheckConservation(ServingReport report, IReadOnlyList<SimulatedRequest> requests)
    {
        Assert.Equal(requests.Count, report.RequestCount);
        Assert.Equal(requests.Sum(r => (long)r.OutputTokens), report.GeneratedTokens);
        double sum = report.Requests.Sum(r => r.EndSeconds - r.Request.ArrivalSeconds);
        Assert.Equal(1, report.RequestSeconds / sum, 1e-9);
        foreach (CompletedRequest r in report.Requests)
        {
            Assert.True(r.PrefillStartSeconds >= r.Request.ArrivalSeconds);
            Assert.True(r.FirstTokenSeconds >= r.PrefillStartSeconds && r.EndSeconds >= r.FirstTokenSeconds);
            Assert.True(double.IsNaN(r.DecodeStartSeconds) || (r.DecodeStartSeconds >= r.KvReadySeconds && r.KvReadySeconds >= r.FirstTokenSeconds));
        }

        Assert.All(report.Utilisation, u => Assert.InRange(u.BusyFraction, 0, 1 + 1e-9));
    }

    private static double ExpectedKvBytes(ServingReport report) => report.Requests
        .Where(r => r.PrefillReplica != r.DecodeReplica && r.Request.OutputTokens > 1)
        .Sum(r => SmallDeployment.Model.KvBytes(new LayerRange(0, SmallDeployment.Model.LayerCount), Math.Max(1, r.Request.PromptTokens)));
}
