using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Sampling;

namespace E2LLM.Tests.Replicas;

/// <summary>A machine whose calendar jumps while it serves: only time that passes counts.</summary>
public sealed class ClockTests
{
    private static readonly ServingRequest Request = DispatcherTests.Request(40, 60, new SamplingOptions { Temperature = 0.8f, Seed = 3 });

    [Theory]
    [InlineData(1), InlineData(-1), InlineData(400), InlineData(-400)]
    public async Task Serve_CalendarJumps_NothingFiresAndPlansAreStillTakenUp(int days)
    {
        var clock = new JumpingCalendar();
        await using var cluster = new MemoryCluster { Connections = new ConnectionOptions { TimeProvider = clock } };
        Array.ForEach(["a", "b", "c"], name => cluster.AddIdle(name));
        DeploymentPlan first = ReplanTests.Plan(ReplanTests.Replica("m", ReplicaRole.Mixed, ("a", 4), ("b", 4)));
        DeploymentPlan second = ReplanTests.Plan(ReplanTests.Replica("n", ReplicaRole.Mixed, ("b", 3), ("c", 5)));
        await using (Dispatcher dispatcher = await Dispatcher.ConnectAsync(
            first, cluster.Model, cluster.ConnectAsync, cluster.Options, new DispatcherOptions { TimeProvider = clock, Replan = (_, _) => ValueTask.FromResult<DeploymentPlan?>(second) }))
        {
            var tokens = new List<int>();
            ServedRequest served = dispatcher.Serve(Request);
            await foreach (int token in served)
            {
                tokens.Add(token);
                if (tokens.Count % 7 == 0)
                {
                    clock.Jump(TimeSpan.FromDays(tokens.Count % 2 == 0 ? days : -2 * days));
                }
            }

            Assert.Equal(Expected(), tokens);
            Assert.Equal(0, served.Report.RecoveryCount);
            Assert.InRange(served.Report.TpotSeconds, 0, 60);

            // The calendar is behind what the devices obeyed, or far ahead of it: epochs grow all the same.
            clock.Jump(TimeSpan.FromDays(days));
            tokens.Clear();
            served = dispatcher.Serve(Request);
            await foreach (int token in served)
            {
                tokens.Add(token);
                if (tokens.Count == 9)
                {
                    cluster.Kill("a");
                }
            }

            Assert.Equal(Expected(), tokens);
            Assert.Equal((1, "n"), (served.Report.RecoveryCount, Assert.Single(dispatcher.Replicas).Name));
        }

        await cluster.AssertEmptyAsync();
    }

    private static List<int> Expected()
    {
        using var whole = new ToyExecutor(8, new LayerRange(0, 8));
        return MemoryCluster.Reference(whole, Request);
    }

    private sealed class JumpingCalendar : TimeProvider
    {
        private long _offset;

        public void Jump(TimeSpan by) => Interlocked.Add(ref _offset, by.Ticks);

        public override DateTimeOffset GetUtcNow() => base.GetUtcNow().AddTicks(Interlocked.Read(ref _offset));
    }
}
