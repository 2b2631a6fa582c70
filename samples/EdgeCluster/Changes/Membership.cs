using System.Diagnostics;
using System.Globalization;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Replicas;

namespace E2LLM.Samples.EdgeCluster.Changes;

/// <summary>
/// What the host knows and the library does not: which devices are there. Makes a new plan whenever that changes, and says so. Thread-safe.
/// </summary>
internal sealed class Membership(Cluster cluster, ModelCost model, Workload workload, DemoOptions options, DeploymentPlan plan, TextWriter output) : IDisposable
{
    private readonly SemaphoreSlim _turn = new(1);

    /// <summary>The devices that are there.</summary>
    public Cluster Cluster { get; private set; } = cluster;

    /// <summary>The newest plan.</summary>
    public DeploymentPlan Plan { get; private set; } = plan;

    /// <summary>Plans anew without the devices that were lost: the delegate that the dispatcher asks after a loss (<see cref="DispatcherOptions.Replan"/>).</summary>
    public async ValueTask<DeploymentPlan?> ReplanAsync(DeviceLoss loss, CancellationToken ct)
    {
        await _turn.WaitAsync(ct);
        try
        {
            Cluster = Without(Cluster, loss.Devices);
            return MakePlan($"{string.Join(", ", loss.Devices)} lost", loss.Running, ct);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Plans anew with another device, whose process is there already.</summary>
    /// <param name="device">What is known of it.</param>
    /// <param name="running">The replicas at work.</param>
    /// <param name="ct">Gives up.</param>
    /// <returns>The plan; null where there is none.</returns>
    public async Task<DeploymentPlan?> AddAsync(DeviceProfile device, IEnumerable<Replica> running, CancellationToken ct)
    {
        await _turn.WaitAsync(ct);
        try
        {
            Cluster = Cluster with { Devices = [.. Cluster.Devices, device] };
            return MakePlan($"{device.Name} joined", [.. running.Select(replica => replica.Plan)], ct);
        }
        finally
        {
            _turn.Release();
        }
    }

    public void Dispose() => _turn.Dispose();

    private DeploymentPlan? MakePlan(string why, IReadOnlyList<ReplicaPlan> running, CancellationToken ct)
    {
        long start = Stopwatch.GetTimestamp();
        PlanningResult result = Demo.Planned(options, planner => Replanner.Replan(Plan, Cluster, model, workload, planner, cancellationToken: ct).Result);
        double milliseconds = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        if (!result.IsFeasible)
        {
            Say($"NO PLAN with {Cluster.Devices.Count} devices ({why}): {result.Infeasible.Message}");
            return null;
        }

        Plan = result.Plan;
        Say(string.Create(CultureInfo.InvariantCulture, $"PLANNED anew in {milliseconds:F0} ms, {why}, {Cluster.Devices.Count} devices are there:"));
        foreach (ReplicaPlan replica in Plan.Replicas)
        {
            bool stays = running.Any(other => Duties(other).SequenceEqual(Duties(replica)));
            string stages = string.Join(" > ", replica.Stages.Select(stage => $"{stage.Device} {stage.Layers}"));
            Say($"        {replica.Name} {replica.Role.ToString().ToLowerInvariant(),-7} {(stays ? "as before" : "new      ")} {stages}");
        }

        if (Plan.UnusedDevices.Count > 0)
        {
            Say($"        unused: {string.Join(", ", Plan.UnusedDevices)}");
        }

        return Plan;
    }

    private static IEnumerable<(string, LayerRange)> Duties(ReplicaPlan replica) => replica.Stages.Select(stage => (stage.Device, stage.Layers));

    private void Say(string line) => output.WriteLine($"  {line}");

    private static Cluster Without(Cluster cluster, IReadOnlyList<string> devices) => cluster with
    {
        Devices = [.. cluster.Devices.Where(device => !devices.Contains(device.Name))],
        Ports = [.. cluster.Ports.Where(port => !devices.Contains(port.Device))],
        Pairs = [.. cluster.Pairs.Where(pair => !devices.Contains(pair.From) && !devices.Contains(pair.To))],
    };
}
