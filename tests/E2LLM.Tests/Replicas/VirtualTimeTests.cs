using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Replicas;

/// <summary>What depends on how long something takes, on a clock that moves only when nobody has anything to do: the same on any machine, however busy.</summary>
[Collection(nameof(SimulatedFaultTests))]
public sealed class VirtualTimeTests
{
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(10);

    [Fact]
    public Task Idle_HealthyConnections_StayUpForManyTimeouts() => OnOwnThread(() =>
    {
        var run = new Simulation(ReplanTests.Replica("m", ReplicaRole.Mixed, ("a", 2), ("b", 3), ("c", 3)));
        TimeSpan before = run.Network.Now;
        run.Clock.Until(Task.Delay(TimeSpan.FromMinutes(30), run.Time), TimeSpan.FromHours(1));
        Assert.Equal(TimeSpan.FromMinutes(30), run.Network.Now - before);
        Assert.Single(run.Dispatcher.Replicas);
        ServedRequest served = run.Dispatcher.Serve(DispatcherTests.Request(5, 5));
        run.Serve(served);
        Assert.Equal(0, served.Report.RecoveryCount);
        run.End();
    });

    /// <summary>A machine that was unplugged closes nothing: it is lost after 5 s, which the watch sees within a quarter of that.</summary>
    [Theory]
    [InlineData("d0"), InlineData("d1")]
    public Task Serve_StageThatStallsWithoutClosing_IsNoticedByHeartbeatAndTheTextGoesOn(string stalled) => OnOwnThread(() =>
    {
        var run = new Simulation(
            ReplanTests.Replica("p", ReplicaRole.Prefill, ("p0", 4), ("p1", 4)), ReplanTests.Replica("d", ReplicaRole.Decode, ("d0", 3), ("d1", 5)), ReplanTests.Replica("m", ReplicaRole.Prefill, ("m0", 8)));
        ServedRequest served = run.Dispatcher.Serve(DispatcherTests.Request(20, 120));
        TimeSpan longest = run.Serve(served, 4, () =>
        {
            foreach (string other in new[] { "dispatcher", "p0", "p1", "d0", "d1", "m0" })
            {
                run.Network.Cut(stalled, other);
                run.Network.Cut(other, stalled);
            }
        });
        Assert.Equal(1, served.Report.RecoveryCount);
        Assert.InRange(longest.TotalSeconds, 4.9, 6.5);
        Assert.DoesNotContain(run.Dispatcher.Replicas, replica => replica.Name == "d");
        run.End();
    });

    [Fact]
    public Task Serve_DecodeStageThatReadsNothing_HoldsUpOnlyWhatIsMeantForIt() => OnOwnThread(() =>
    {
        ReplicaPlan[] plans = [ReplanTests.Replica("p", ReplicaRole.Prefill, ("p0", 8)), ReplanTests.Replica("d", ReplicaRole.Decode, ("d0", 8))];
        var run = new Simulation(plans);
        ServedRequest first = run.Dispatcher.Serve(DispatcherTests.Request(70, 3, salt: 50));
        run.Serve(first);
        Assert.Equal("d", first.Report.DecodeReplica);

        // The connection is up; from now on nothing of it arrives, more than any buffer takes is to be sent, and what comes back still comes.
        run.Network.Cut("p0", "d0");
        ServedRequest stuck = run.Dispatcher.Serve(DispatcherTests.Request(600, 10));
        Task<(List<int> Tokens, TimeSpan)> waiting = Task.Run(() => run.CollectAsync(stuck));
        run.Clock.Until(run.Dispatcher.TakeUpAsync(ReplanTests.Plan([.. plans, ReplanTests.Replica("e", ReplicaRole.Decode, ("e0", 8)) with { DecodeTokensPerSecond = 1000 }])), Long);
        TimeSpan before = run.Network.Now;
        for (int i = 0; i < 3; i++)
        {
            ServedRequest quick = run.Dispatcher.Serve(DispatcherTests.Request(90, 30, salt: 4 + i));
            run.Serve(quick);
            Assert.Equal(("p", "e", 0), (quick.Report.PrefillReplica, quick.Report.DecodeReplica, quick.Report.RecoveryCount));
        }

        Assert.True(run.Network.Now - before < TimeSpan.FromSeconds(2));
        Assert.False(waiting.IsCompleted);
        run.Clock.Until(waiting, Long);
        Assert.Equal(Simulation.Expected(stuck.Request), waiting.Result.Tokens);
        Assert.Equal((1, "e"), (stuck.Report.RecoveryCount, stuck.Report.DecodeReplica));
        run.Network.Heal("p0", "d0");
        run.End();
    });

    private static Task OnOwnThread(Action action) => Task.Factory.StartNew(action, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <summary>A cluster on a simulated network whose writes take up to a millisecond.</summary>
    private sealed class Simulation
    {
        private readonly SimulatedCluster _cluster;

        public Simulation(params ReplicaPlan[] replicas)
        {
            Network = new SimulatedNetwork(Time, seed: 1) { MaxDelay = TimeSpan.FromMilliseconds(1) };
            _cluster = new SimulatedCluster(Time, Network);
            Array.ForEach(["a", "b", "c", "p0", "p1", "d0", "d1", "e0", "m0"], _cluster.Add);
            Clock = new VirtualRun(Time, _cluster.LoopWork);
            Task<Dispatcher> connecting = Task.Run(() => Dispatcher.ConnectAsync(ReplanTests.Plan(replicas), _cluster.Model, _cluster.ConnectAsync, _cluster.Options));
            Clock.Until(connecting, Long);
            Dispatcher = connecting.GetAwaiter().GetResult();
        }

        public ManualTime Time { get; } = new();

        public SimulatedNetwork Network { get; }

        public VirtualRun Clock { get; }

        public Dispatcher Dispatcher { get; }

        public static List<int> Expected(ServingRequest request)
        {
            using var whole = new ToyExecutor(8, new LayerRange(0, 8));
            return MemoryCluster.Reference(whole, request);
        }

        /// <summary>Runs a request to its end and judges its tokens.</summary>
        /// <returns>The longest time that it stood still.</returns>
        public TimeSpan Serve(ServedRequest served, int token = -1, Action? atToken = null)
        {
            Task<(List<int> Tokens, TimeSpan Longest)> run = Task.Run(() => CollectAsync(served, token, atToken));
            Clock.Until(run, Long);
            Assert.Equal(Expected(served.Request), run.GetAwaiter().GetResult().Tokens);
            return run.Result.Longest;
        }

        public async Task<(List<int> Tokens, TimeSpan Longest)> CollectAsync(ServedRequest served, int token = -1, Action? atToken = null)
        {
            var tokens = new List<int>();
            TimeSpan last = Network.Now, longest = TimeSpan.Zero;
            await foreach (int id in served)
            {
                tokens.Add(id);
                longest = Network.Now - last > longest ? Network.Now - last : longest;
                last = Network.Now;
                if (tokens.Count == token)
                {
                    atToken!();
                }
            }

            return (tokens, longest);
        }

        public void End()
        {
            Clock.Until(Task.Run(() => Dispatcher.DisposeAsync().AsTask()), Long);
            Clock.Until(Task.Delay(TimeSpan.FromMinutes(2), Time), Long);
            Assert.All(_cluster.AllHosts, host => Assert.Equal((0, 0), (host.UsedKvBlockCount, host.SessionCount)));
            Clock.Until(Task.Run(_cluster.DisposeAsync), Long);
            Assert.Equal(0, Network.OpenCount);
        }
    }
}
