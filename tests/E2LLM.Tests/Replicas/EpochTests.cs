using System.Runtime.CompilerServices;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Replicas.Stages;
using E2LLM.Tests.Support;
using static E2LLM.Tests.Replicas.ReplanTests;

namespace E2LLM.Tests.Replicas;

/// <summary>Whose orders a device obeys: the later plan's, whatever clocks say.</summary>
public sealed class EpochTests
{
    [Fact]
    public async Task ConnectAsync_DispatcherLeftBehind_CannotTakeTheDevicesBack()
    {
        // Two dispatchers at one device: the newer plan has it, whoever asks later with an older one.
        var late = new ManualTime();
        await using var cluster = Idle("a");
        await using Dispatcher newer = await ConnectAsync(cluster, Plan(Replica("m", ReplicaRole.Mixed, ("a", 8))));
        cluster.AddIdle("b");
        cluster.AddIdle("c");
        ReplicaOptions stale = cluster.Options with { Connections = new ConnectionOptions { TimeProvider = late } };
        HandshakeRejectedException thrown = await Assert.ThrowsAsync<HandshakeRejectedException>(() => Dispatcher.ConnectAsync(
            Plan(Replica("n", ReplicaRole.Mixed, ("a", 2), ("b", 6))), cluster.Model, cluster.ConnectAsync, stale));
        Assert.Contains("epoch", thrown.Message, StringComparison.Ordinal);
        Assert.Equal(Expected(Request), await DispatcherTests.CollectAsync(newer.Serve(Request)));
    }

    [Fact]
    public async Task ConnectAsync_ClockSetBack_TakesDevicesThatNobodyUses()
    {
        // The first dispatcher is gone and its clock was decades ahead of the second's: the device has seen a later epoch, and says so.
        await using var cluster = Idle("a", "b");
        await using (await ConnectAsync(cluster, Plan(Replica("m", ReplicaRole.Mixed, ("a", 8)))))
        {
        }

        await cluster.AssertEmptyAsync();
        ReplicaOptions behind = cluster.Options with { Connections = new ConnectionOptions { TimeProvider = new ManualTime() } };
        await using Dispatcher later = await Dispatcher.ConnectAsync(Plan(Replica("n", ReplicaRole.Mixed, ("a", 2), ("b", 6))), cluster.Model, cluster.ConnectAsync, behind);
        Assert.Equal(Expected(Request), await DispatcherTests.CollectAsync(later.Serve(Request)));
        Assert.InRange(cluster["a"].Exchange.Epoch, 1_600_000_000_000ul, ulong.MaxValue);

        // What it does next is later than all it was told, also for the device that was told a lower epoch.
        await later.TakeUpAsync(Plan(Replica("o", ReplicaRole.Mixed, ("b", 8))));
        Assert.InRange(cluster["b"].Exchange.Epoch, cluster["a"].Exchange.Epoch + 1, ulong.MaxValue);
    }

    [Fact]
    public async Task ConnectAsync_DeviceThatClaimsTheLastEpoch_IsRefusedAndNotBelieved()
    {
        await using var cluster = Idle("a");
        EpochOfHost(cluster["a"]) = ulong.MaxValue - 1;
        HandshakeRejectedException thrown = await Assert.ThrowsAsync<HandshakeRejectedException>(() => ConnectAsync(cluster, Plan(Replica("m", ReplicaRole.Mixed, ("a", 8)))));
        Assert.Equal(["epoch"], thrown.Differences.Select(difference => difference.Field));

        [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_epoch")]
        static extern ref ulong EpochOf(StageExchange exchange);

        static ref ulong EpochOfHost(StageHost host) => ref EpochOf(host.Exchange);
    }
}
