using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Sampling;

namespace E2LLM.Tests.Replicas;

/// <summary>Plans taken up while requests run: after losses, for added devices, and against devices that were left behind.</summary>
public sealed class ReplanTests
{
    private const int Tokens = 40;
    internal static readonly ServingRequest Request = DispatcherTests.Request(30, Tokens, new SamplingOptions { Temperature = 0.7f, Seed = 5 });

    [Theory]
    [InlineData("c"), InlineData("d")]
    public async Task Serve_OnlyDecodeReplicaLost_GoesOnWithTheNewPlan(string killed)
    {
        await using var cluster = Idle("a", "b", "c", "d");
        DeviceLoss? asked = null;
        DeploymentPlan first = Plan(Replica("p", ReplicaRole.Prefill, ("a", 4), ("b", 4)), Replica("q", ReplicaRole.Decode, ("c", 3), ("d", 5)));
        await using (Dispatcher dispatcher = await ConnectAsync(cluster, first, loss =>
        {
            // The other device of the broken replica is left, and takes layers that it did not hold.
            asked = loss;
            return Plan(Replica("n", ReplicaRole.Mixed, ("a", 2), (killed == "c" ? "d" : "c", 5), ("b", 1)));
        }))
        {
            ServedRequest served = dispatcher.Serve(Request);
            Assert.Equal(Expected(Request), await CollectAsync(served, 9, () => cluster.Kill(killed)));
            Assert.InRange(served.Report.RecoveryCount, 1, 2);
            await dispatcher.SettleAsync();
            Assert.Equal("n", Assert.Single(dispatcher.Replicas).Name);
            Assert.Equal([killed], asked!.Devices);
            Assert.Equal("p", Assert.Single(asked.Running).Name);
            Assert.Equal(0, asked.FailedPlanCount);
            Assert.Equal(killed, Assert.IsType<PeerLostException>(asked.Cause).Peer);
            Assert.Equal(new LayerRange(2, 7), cluster[killed == "c" ? "d" : "c"].Layers);
            ServingRequest later = DispatcherTests.Request(12, 8, salt: 3);
            Assert.Equal(Expected(later), await DispatcherTests.CollectAsync(dispatcher.Serve(later)));
        }

        await cluster.AssertEmptyAsync();
    }

    [Fact]
    public async Task Serve_OnlyReplicaLost_WaitsForTheNewPlan()
    {
        await using var cluster = Idle("a", "b", "c");
        await using Dispatcher dispatcher = await ConnectAsync(cluster, Plan(Replica("m", ReplicaRole.Mixed, ("a", 4), ("b", 4))), _ => Plan(Replica("n", ReplicaRole.Mixed, ("c", 1), ("b", 7))));
        List<int>[] texts = await Task.WhenAll(Enumerable.Range(0, 6).Select(i =>
            CollectAsync(dispatcher.Serve(Request with { Sampling = new SamplingOptions { Temperature = 1, Seed = (ulong)i } }), 3 + i, () => cluster.Kill("a"))));
        Assert.Equal(Enumerable.Range(0, 6).Select(i => Expected(Request with { Sampling = new SamplingOptions { Temperature = 1, Seed = (ulong)i } })), texts);
    }

    [Fact]
    public async Task TakeUp_DeviceAdded_IsUsedAndWhatRunsGoesOn()
    {
        await using var cluster = Idle("a", "b", "c");
        ReplicaPlan kept = Replica("m", ReplicaRole.Mixed, ("a", 4), ("b", 4));
        await using Dispatcher dispatcher = await ConnectAsync(cluster, Plan(kept));
        ServedRequest served = dispatcher.Serve(Request);
        Task? added = null;
        List<int> text = await CollectAsync(served, 5, () => added = dispatcher.TakeUpAsync(Plan(kept with { Role = ReplicaRole.Decode }, Replica("x", ReplicaRole.Prefill, ("c", 8)))));
        await added!;
        Assert.Equal(Expected(Request), text);
        Assert.Equal(0, served.Report.RecoveryCount);
        Assert.Single(cluster.LoadedBy("a"));
        ServedRequest next = dispatcher.Serve(Request);
        Assert.Equal(Expected(Request), await DispatcherTests.CollectAsync(next));
        Assert.Equal(("x", "m"), (next.Report.PrefillReplica, next.Report.DecodeReplica));
        Assert.True(next.Report.KvTransferBytes > 0);
    }

    [Fact]
    public async Task TakeUp_OtherLayersForEveryDevice_MovesWhatRuns()
    {
        await using var cluster = Idle("a", "b");
        await using Dispatcher dispatcher = await ConnectAsync(cluster, Plan(Replica("m", ReplicaRole.Mixed, ("a", 4), ("b", 4))));
        Task? moved = null;
        ServedRequest served = dispatcher.Serve(Request);
        Assert.Equal(Expected(Request), await CollectAsync(served, 7, () => moved = dispatcher.TakeUpAsync(Plan(Replica("n", ReplicaRole.Mixed, ("b", 6), ("a", 2))))));
        await moved!;
        Assert.Equal(1, served.Report.RecoveryCount);
        Assert.Equal((new LayerRange(6, 8), new LayerRange(0, 6)), (cluster["a"].Layers, cluster["b"].Layers));
        Assert.True(cluster.LoadedBy("a")[0].KvPool.IsDisposed);
    }

    [Fact]
    public async Task Serve_PlanThatCannotBeTakenUp_AsksForAnother()
    {
        await using var cluster = Idle("a", "b", "c", "d");
        cluster.Kill("d");
        var asked = new List<DeviceLoss>();
        await using Dispatcher dispatcher = await ConnectAsync(cluster, Plan(Replica("m", ReplicaRole.Mixed, ("a", 4), ("b", 4))), loss =>
        {
            asked.Add(loss);
            return Plan(Replica("n", ReplicaRole.Mixed, (loss.Devices.Contains("d") ? "c" : "d", 5), ("b", 3)));
        });
        Assert.Equal(Expected(Request), await CollectAsync(dispatcher.Serve(Request), 4, () => cluster.Kill("a")));
        Assert.Equal(["a|0", "a,d|1"], asked.Select(loss => $"{string.Join(',', loss.Devices)}|{loss.FailedPlanCount}"));
        Assert.Equal(PeerLossReason.Unreachable, Assert.IsType<PeerLostException>(asked[1].Cause).Reason);
    }

    [Fact]
    public async Task Serve_MoreLostWhileThePlanWasMade_AsksForAnotherAtOnce()
    {
        await using var cluster = Idle("a", "b", "c", "d");
        var asked = new List<DeviceLoss>();
        Dispatcher? used = null;
        await using Dispatcher dispatcher = used = await ConnectAsync(cluster, Plan(Replica("m", ReplicaRole.Mixed, ("a", 8)), Replica("n", ReplicaRole.Mixed, ("b", 8))), loss =>
        {
            asked.Add(loss);
            if (asked.Count == 1)
            {
                // The planner takes its time, and b dies meanwhile: a plan with b is of no use any more.
                Task noticed = used!.Replicas.Single(replica => replica.Name == "n").Lost;
                cluster.Kill("b");
                noticed.Wait(TimeSpan.FromSeconds(20));
                _ = used.SettleAsync();
                return Plan(Replica("x", ReplicaRole.Mixed, ("c", 4), ("b", 4)));
            }

            return Plan(Replica("y", ReplicaRole.Mixed, ("c", 5), ("d", 3)));
        });
        Assert.Equal(Expected(Request), await CollectAsync(dispatcher.Serve(Request), 4, () => cluster.Kill("a")));
        await dispatcher.SettleAsync();
        Assert.Equal("y", Assert.Single(dispatcher.Replicas).Name);
        Assert.Equal(["a|0", "a,b|0"], asked.Select(loss => $"{string.Join(',', loss.Devices)}|{loss.FailedPlanCount}"));
        Assert.Equal(new LayerRange(0, 5), Assert.Single(cluster.LoadedBy("c")).Role.Layers);
    }

    [Fact]
    public async Task Serve_NoPlanExists_EndsWithATypedErrorNamingPeerAndStage()
    {
        await using var cluster = Idle("a", "b");
        await using Dispatcher dispatcher = await ConnectAsync(cluster, Plan(Replica("m", ReplicaRole.Mixed, ("a", 4), ("b", 4))), _ => null);
        NoReplicaException thrown = await Assert.ThrowsAsync<NoReplicaException>(() => CollectAsync(dispatcher.Serve(Request), 4, () => cluster.Kill("b")));
        PeerLostException lost = Assert.IsType<PeerLostException>(thrown.InnerException);
        Assert.Equal(("b", 1), (lost.Peer, lost.StageIndex));
    }

    [Fact]
    public async Task Serve_PlanMakerFails_IsTheCauseThatIsTold()
    {
        await using var cluster = Idle("a");
        await using Dispatcher dispatcher = await ConnectAsync(cluster, Plan(Replica("m", ReplicaRole.Mixed, ("a", 8))), _ => throw new FormatException("no cluster file"));
        NoReplicaException thrown = await Assert.ThrowsAsync<NoReplicaException>(() => CollectAsync(dispatcher.Serve(Request), 4, () => cluster.Kill("a")));
        Assert.Equal("no cluster file", Assert.IsType<FormatException>(thrown.InnerException).Message);
    }

    [Fact]
    public async Task Serve_PlansThatNeverWork_AreGivenUp()
    {
        await using var cluster = Idle("a", "b");
        cluster.Kill("b");
        int asked = 0;
        await using Dispatcher dispatcher = await ConnectAsync(cluster, Plan(Replica("m", ReplicaRole.Mixed, ("a", 8))), _ =>
        {
            asked++;
            return Plan(Replica("n", ReplicaRole.Mixed, ("b", 8)));
        });
        await Assert.ThrowsAsync<NoReplicaException>(() => CollectAsync(dispatcher.Serve(Request), 4, () => cluster.Kill("a")));
        Assert.Equal(1 + new DispatcherOptions().MaxRecoveryCount, asked);
    }

    [Fact]
    public async Task Load_ThatFails_IsToldAndTheDeviceHoldsNothing()
    {
        await using var cluster = new MemoryCluster();
        int calls = 0;
        cluster.AddIdle("a", layers => ++calls == 1 ? throw new IOException("disk read error") : new LoadedStage(new ToyExecutor(8, calls == 2 ? new LayerRange(0, 3) : layers)));
        DeploymentPlan plan = Plan(Replica("m", ReplicaRole.Mixed, ("a", 8)));
        PeerLostException thrown = await Assert.ThrowsAsync<PeerLostException>(() => ConnectAsync(cluster, plan));
        Assert.Equal(("a", 0, PeerLossReason.Failed), (thrown.Peer, thrown.StageIndex, thrown.Reason));
        Assert.Contains("disk read error", thrown.Message, StringComparison.Ordinal);
        Assert.Contains("asked for", (await Assert.ThrowsAsync<PeerLostException>(() => ConnectAsync(cluster, plan))).Message, StringComparison.Ordinal);
        Assert.Null(cluster["a"].Layers);
        await using Dispatcher dispatcher = await ConnectAsync(cluster, plan);
        Assert.Equal(Expected(Request), await DispatcherTests.CollectAsync(dispatcher.Serve(Request)));
    }

    [Fact]
    public async Task Load_WithoutALoader_IsRefusedAndTheFieldsListed()
    {
        await using var cluster = new MemoryCluster();
        cluster.Add("m", ReplicaRole.Mixed, 4);
        HandshakeRejectedException thrown = await Assert.ThrowsAsync<HandshakeRejectedException>(() => ConnectAsync(cluster, Plan(Replica("m", ReplicaRole.Mixed, ("m0", 3), ("m1", 5)))));
        Assert.Equal(["layers"], thrown.Differences.Select(difference => difference.Field));
    }

    [Fact]
    public async Task Serve_DeviceReturnsWithOldStateOrOtherModel_IsNeverMixedIn()
    {
        await using var cluster = Idle("a", "b", "c");
        int asked = 0;
        await using Dispatcher dispatcher = await ConnectAsync(cluster, Plan(Replica("m", ReplicaRole.Mixed, ("a", 4), ("b", 4))), loss => ++asked == 1
            ? Plan(Replica("n", ReplicaRole.Mixed, ("c", 4), ("b", 4)))
            : Plan(Replica("o", ReplicaRole.Mixed, ("a", 4), ("b", 4))));
        Assert.Equal(Expected(Request), await CollectAsync(dispatcher.Serve(Request), 6, () => cluster.Kill("a")));

        // It is back with the layers and the sessions that it had: nobody knows those sessions any more.
        cluster.Revive("a");
        Assert.Equal(Expected(Request), await CollectAsync(dispatcher.Serve(Request), 6, () => cluster.Kill("c")));
        Assert.Equal("o", Assert.Single(dispatcher.Replicas).Name);

        // A device that comes back with another model under its name is refused by name of the field.
        var other = new ModelIdentity(cluster.Model.Shape, cluster.Model.TokenizerHash, Enumerable.Repeat((byte)9, 32).ToArray());
        await using var impostor = new StageHost(other, new StageHostOptions { Name = "c", Connect = cluster.ConnectAsync, Load = (_, _, _, _) => throw new NotSupportedException() });
        cluster.Wrap = (peer, stream) => peer == "c" ? MemoryCluster.Join(impostor) : stream;
        cluster.Revive("c");
        HandshakeRejectedException thrown = await Assert.ThrowsAsync<HandshakeRejectedException>(() => dispatcher.TakeUpAsync(Plan(Replica("z", ReplicaRole.Mixed, ("c", 8)))));
        Assert.Contains(thrown.Differences, difference => difference.Field == "weights_hash");
    }

    [Fact]
    public void Constructor_ReplanWithoutAWayToConnect_IsRefused()
    {
        Assert.Throws<ArgumentException>(() => new Dispatcher([], new DispatcherOptions { Replan = (_, _) => ValueTask.FromResult<DeploymentPlan?>(null) }));
        Assert.Throws<ArgumentException>(() => new StageHost(new MemoryCluster().Model, new StageHostOptions { Name = "x", Connect = (_, _) => throw new IOException() }));
    }

    internal static MemoryCluster Idle(params string[] devices)
    {
        var cluster = new MemoryCluster();
        Array.ForEach(devices, device => cluster.AddIdle(device));
        return cluster;
    }

    internal static Task<Dispatcher> ConnectAsync(MemoryCluster cluster, DeploymentPlan plan, Func<DeviceLoss, DeploymentPlan?>? replan = null) => Dispatcher.ConnectAsync(
        plan, cluster.Model, cluster.ConnectAsync, cluster.Options, new DispatcherOptions { Replan = replan is null ? null : (loss, _) => ValueTask.FromResult(replan(loss)) });

    internal static DeploymentPlan Plan(params ReplicaPlan[] replicas) =>
        new() { Planner = "test", ModelName = "test", Objective = new PlanObjective { Kind = "capacity" }, Replicas = replicas };

    internal static ReplicaPlan Replica(string name, ReplicaRole role, params (string Device, int Layers)[] stages)
    {
        var plans = new List<StagePlan>();
        int layer = 0;
        foreach ((string device, int layers) in stages)
        {
            plans.Add(new StagePlan { Device = device, Layers = new LayerRange(layer, layer + layers), Embedding = layer == 0, Head = plans.Count == stages.Length - 1 });
            layer += layers;
        }

        return new ReplicaPlan { Name = name, Role = role, Stages = plans };
    }

    private static async Task<List<int>> CollectAsync(ServedRequest served, int token, Action action)
    {
        using var guard = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        var tokens = new List<int>();
        await foreach (int id in served.WithCancellation(guard.Token))
        {
            tokens.Add(id);
            if (tokens.Count == token)
            {
                action();
            }
        }

        return tokens;
    }

    internal static List<int> Expected(ServingRequest request)
    {
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        return MemoryCluster.Reference(whole, request);
    }
}
