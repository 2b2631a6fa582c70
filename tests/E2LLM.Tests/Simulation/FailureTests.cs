using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Simulation;
using E2LLM.Simulation.Reporting;
using E2LLM.Simulation.Workloads;

namespace E2LLM.Tests.Simulation;

/// <summary>What happens when devices go, memory runs out or the workload changes: every request still gets every token.</summary>
public class FailureTests
{
    [Theory]
    [InlineData("a", null)]
    [InlineData("b", null)]
    [InlineData("c", null)]
    [InlineData("d", null)]
    [InlineData("c", "a")]
    public void Run_WithALostDeviceThatComesBack_LosesNoToken(string device, string? to)
    {
        foreach (DeploymentPlan plan in (DeploymentPlan[])[SmallDeployment.Split, SmallDeployment.FourSingles, SmallDeployment.Mixed])
        {
            foreach ((KvPush push, RouterKind router) in Enum.GetValues<KvPush>().Select(push => (push, RouterKind.JsqWait)).Append((KvPush.Overlapped, RouterKind.Dispatcher)))
            {
                var options = new SimulationOptions
                {
                    KvPush = push,
                    Router = router,
                    BootstrapCount = 0,
                    Failures = [new SimulatedFailure(device, 10, 25, to), new SimulatedFailure("b", 40, 41)],
                };
                IReadOnlyList<SimulatedRequest> requests = RequestGenerator.Generate(SmallDeployment.Load(4), 300, seed: 2);
                ServingReport report = ClusterSimulator.Run(plan, SmallDeployment.Cluster, SmallDeployment.Model, requests, options);
                Assert.Equal(300, report.RequestCount);
                Assert.Equal(requests.Sum(r => (long)r.OutputTokens), report.GeneratedTokens);
                Assert.True(report.PrefilledTokens >= requests.Sum(r => (long)r.PromptTokens));
                Assert.Equal(1, report.RequestSeconds / report.Requests.Sum(r => r.EndSeconds - r.Request.ArrivalSeconds), 1e-9);
            }
        }
    }

    [Theory]
    [InlineData(KvPush.AfterPrefill)]
    [InlineData(KvPush.Overlapped)]
    public void Run_WhenThePrefillReplicaOfRequestsThatWaitForMemoryGoes_ServesEachOfThemOnce(KvPush push)
    {
        // Little room at the only decode replica: prompts that are done wait with their caches on a, until a is gone for a while.
        DeploymentPlan plan = SmallDeployment.Plan(SmallDeployment.FourSingles.Replicas[0], SmallDeployment.FourSingles.Replicas[1], SmallDeployment.FourSingles.Replicas[2]);
        SimulatedRequest[] requests = [.. Enumerable.Range(0, 40).Select(i => new SimulatedRequest(i * 0.05, 900, 300))];
        bool computedAnew = false;
        foreach (long memory in (long[])[130_000_000, 135_000_000, 145_000_000])
        {
            Cluster small = SmallDeployment.Cluster with { Devices = [.. SmallDeployment.Cluster.Devices.Select(d => d.Name == "c" ? d with { MemoryBytes = memory } : d)] };
            foreach (double down in (double[])[3, 6, 12])
            {
                var options = new SimulationOptions { KvPush = push, BootstrapCount = 0, Failures = [new SimulatedFailure("a", down, down + 5)] };
                ServingReport report = ClusterSimulator.Run(plan, small, SmallDeployment.Model, requests, options);
                Assert.Equal(Enumerable.Range(0, 40), report.Requests.Select(r => (int)r.Id).Order());
                Assert.Equal(40 * 300, report.GeneratedTokens);
                computedAnew |= report.PrefilledTokens > 40 * 900;
            }
        }

        Assert.True(computedAnew);
    }

    [Fact]
    public void Run_WithADeviceLostForEver_GoesOnOnTheRest()
    {
        var options = new SimulationOptions { Failures = [new SimulatedFailure("b", 5, double.PositiveInfinity)] };
        ServingReport report = ClusterSimulator.Run(
            SmallDeployment.FourSingles, SmallDeployment.Cluster, SmallDeployment.Model, SmallDeployment.Load(2), 100, options);
        Assert.Equal(100, report.RequestCount);
        Assert.All(report.Requests.Where(r => r.PrefillStartSeconds > 5), r => Assert.NotEqual(1, r.PrefillReplica));
    }

    [Fact]
    public void Run_AsTheDispatcherRoutes_OpensARequestBehindThePassThatRuns()
    {
        // The second request comes while the first one decodes: its prompt is queued when the pass under way on each decode stage is over, not before.
        SimulatedRequest[] requests = [new(0, 64, 200), new(1.0, 64, 2)];
        double Start(RouterKind router) => ClusterSimulator.Run(
            SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, requests, new SimulationOptions { Router = router, BootstrapCount = 0 }).Requests[1].PrefillStartSeconds;
        ServingReport alone = ClusterSimulator.Run(SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, [requests[0]], new SimulationOptions { BootstrapCount = 0 });
        double step = alone.Requests[0].LongestGapSeconds, hop = 0.0002;
        Assert.Equal(1.0, Start(RouterKind.JsqWait), 1e-12);
        Assert.InRange(Start(RouterKind.Dispatcher), 1.0 + (2 * hop), 1.0 + step + (2 * hop));
    }

    [Fact]
    public void Run_AsTheDispatcherRoutes_OpensARequestBehindAPassThatBeganOnItsWay()
    {
        // While the second request is held up by the decode step under way, a long prompt that needs no decode replica begins to be read: its pass at the first of two stages comes first. Over
        // a whole step of decoding, since at some moments both stages have nothing to do.
        ServingReport alone = ClusterSimulator.Run(SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, [new(0, 64, 1000)], new SimulationOptions { BootstrapCount = 0 });
        double Share(double at)
        {
            SimulatedRequest[] requests = [new(0, 64, 1000), new(at, 64, 2), new(at + 1e-5, 1024, 1)];
            ServingReport report = ClusterSimulator.Run(
                SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, requests, new SimulationOptions { Router = RouterKind.Dispatcher, ChunkTokens = 2048, BootstrapCount = 0 });
            CompletedRequest[] served = [.. report.Requests.OrderBy(request => request.Request.ArrivalSeconds)];
            return (served[1].PrefillStartSeconds - served[2].PrefillStartSeconds) / (served[2].FirstTokenSeconds - served[2].PrefillStartSeconds);
        }

        double[] shares = [.. Enumerable.Range(0, 20).Select(i => Share(1 + (alone.Requests[0].LongestGapSeconds * i / 20)))];
        Assert.Contains(shares, share => share is > 0.25 and < 0.5);
        Assert.All(shares, share => Assert.InRange(share, -0.01, 0.5));
    }

    [Fact]
    public void Run_WithNothingLeft_SaysSo()
    {
        var options = new SimulationOptions { Failures = [new SimulatedFailure("a", 5, double.PositiveInfinity), new SimulatedFailure("c", 5, double.PositiveInfinity)] };
        Assert.Throws<InvalidOperationException>(() => ClusterSimulator.Run(
            SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, SmallDeployment.Load(2), 100, options));
    }

    [Fact]
    public void Run_WithLittlePagedMemory_SwapsOrRecomputesAndFinishes()
    {
        // Room for about three sequences of the longest kind where eight may decode; d has host memory, c has none.
        Cluster small = SmallDeployment.Cluster with
        {
            Devices = [.. SmallDeployment.Cluster.Devices.Select(d => d with { MemoryBytes = 120_000_000 })],
        };
        foreach ((string device, bool recomputes) in ((string, bool)[])[("c", true), ("d", false)])
        {
            DeploymentPlan plan = SmallDeployment.Plan(SmallDeployment.Replica("m", ReplicaRole.Mixed, 64, (device, 0, 8)));
            SimulatedRequest[] requests = [.. Enumerable.Range(0, 60).Select(i => new SimulatedRequest(i * 0.01, 200, 700))];
            var options = new SimulationOptions { KvAdmission = KvAdmission.Paged, ChunkTokens = 64, BootstrapCount = 0 };
            ServingReport paged = ClusterSimulator.Run(plan, small, SmallDeployment.Model, requests, options);
            ServingReport reserved = ClusterSimulator.Run(plan, small, SmallDeployment.Model, requests, options with { KvAdmission = KvAdmission.Reserve });
            Assert.Equal(60 * 700, paged.GeneratedTokens);
            Assert.Equal(recomputes, paged.PrefilledTokens > 60 * 200);
            Assert.Equal(60 * 200, reserved.PrefilledTokens);
        }
    }

    [Fact]
    public void Run_WhenTheWorkloadDrifts_ReplansAndServesMore()
    {
        // Made for long prompts and short answers; then answers grow. The answer to the drift turns one prefill replica into a decode replica.
        DeploymentPlan first = SmallDeployment.Plan(
            SmallDeployment.Replica("p0", ReplicaRole.Prefill, 0, ("a", 0, 8)), SmallDeployment.Replica("p1", ReplicaRole.Prefill, 0, ("c", 0, 8)),
            SmallDeployment.Replica("d0", ReplicaRole.Decode, 2, ("d", 0, 8)));
        DeploymentPlan second = SmallDeployment.Plan(
            SmallDeployment.Replica("p0", ReplicaRole.Prefill, 0, ("a", 0, 8)), SmallDeployment.Replica("d1", ReplicaRole.Decode, 8, ("c", 0, 8)),
            SmallDeployment.Replica("d0", ReplicaRole.Decode, 8, ("d", 0, 4), ("b", 4, 8)));
        SimulatedRequest[] requests = [.. Enumerable.Range(0, 400).Select(i => new SimulatedRequest(i * 0.4, 200, i < 100 ? 20 : 200))];
        var fixedPlan = new SimulationOptions { BootstrapCount = 0 };
        var told = new List<ReplanContext>();
        var replanned = fixedPlan with
        {
            Replan = new ReplanOptions
            {
                PlannedOutputRatio = 0.1,
                WindowRequests = 20,
                MinimumIntervalSeconds = 1000,
                Planner = context =>
                {
                    told.Add(context);
                    return second;
                },
            },
        };
        ServingReport without = ClusterSimulator.Run(first, SmallDeployment.Cluster, SmallDeployment.Model, requests, fixedPlan);
        ServingReport with = ClusterSimulator.Run(first, SmallDeployment.Cluster, SmallDeployment.Model, requests, replanned);
        Assert.Equal(1, with.ReplanCount);
        Assert.Equal(without.GeneratedTokens, with.GeneratedTokens);
        Assert.InRange(Assert.Single(told).MeanOutputTokens, 31, 200);
        Assert.True(with.EndToEndSeconds.Mean < without.EndToEndSeconds.Mean);
    }

    [Fact]
    public void LengthWeight_OnAQueueOfUnlikePrompts_LowersTheMeanWaitOfPrompts()
    {
        Workload workload = SmallDeployment.Load(30, prompt: 400, output: 1);
        double Mean(double weight) => ClusterSimulator.Run(
            SmallDeployment.FourSingles, SmallDeployment.Cluster, SmallDeployment.Model, workload, 400, new SimulationOptions { LengthWeight = weight, BootstrapCount = 0 })
            .TtftSeconds.Mean;
        Assert.True(Mean(50) < 0.95 * Mean(0));
    }

    [Fact]
    public void SimulatedObjective_OfTwoPlans_PrefersTheOneThatWaitsLess()
    {
        var objective = new SimulatedObjective(SimulatedMetric.MeanEndToEnd, 200);
        Workload workload = SmallDeployment.Load(3);
        double Value(DeploymentPlan plan) => objective.Evaluate(plan, SmallDeployment.Cluster, SmallDeployment.Model, workload);
        DeploymentPlan half = SmallDeployment.Plan(SmallDeployment.Replica("m", ReplicaRole.Mixed, 1, ("d", 0, 8)));
        Assert.True(Value(SmallDeployment.Mixed) < Value(half));
        Assert.Equal(Value(half), Value(half));
        Assert.Equal(double.PositiveInfinity, Value(SmallDeployment.Plan(SmallDeployment.Replica("x", ReplicaRole.Mixed, 1, ("none", 0, 8)))));
    }

    [Fact]
    public void HtmlReport_OfARun_HasItsFiguresAndPlots()
    {
        ServingReport report = ClusterSimulator.Run(SmallDeployment.Split, SmallDeployment.Cluster, SmallDeployment.Model, SmallDeployment.Load(2), 50);
        string html = HtmlReport.Write(report, SmallDeployment.Split);
        Assert.Equal(2, html.Split("<svg").Length - 1);
        Assert.Contains(report.WaitingSeconds.Mean.ToString("F4", System.Globalization.CultureInfo.InvariantCulture), html, StringComparison.Ordinal);
        Assert.DoesNotContain("NaN", html, StringComparison.Ordinal);
    }
}
