using System.Globalization;
using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>Says in plain words why a plan is as it is. Stateless.</summary>
internal static class PlanExplanation
{
    private const int MostStagesTold = 64;

    public static IReadOnlyList<string> Explain(PlanningProblem problem, DeploymentPlan plan, string tried, PlanSensitivity.Finding? memory = null)
    {
        var lines = new List<string> { Summary(problem, plan), $"Tried: {tried}." };
        int told = 0;
        foreach (ReplicaPlan replica in plan.Replicas)
        {
            lines.Add(Replica(replica));
            foreach (StagePlan stage in replica.Stages)
            {
                if (told++ < MostStagesTold)
                {
                    lines.Add(Stage(problem, replica, stage));
                }
            }
        }

        foreach (string name in plan.UnusedDevices.Take(16))
        {
            lines.Add(Unused(problem, name));
        }

        if (memory is not null)
        {
            lines.Add(memory.Text);
        }

        if (Help(plan, memory is { Helps: true } ? "besides" : "most") is { } help)
        {
            lines.Add(help);
        }

        foreach (DeviceProfile device in problem.Cluster.Devices)
        {
            if (device.Profile is { ModelIdentity.Length: > 0 } profile && profile.ModelIdentity != problem.Model.Name)
            {
                lines.Add($"'{device.Name}' was measured with '{profile.ModelIdentity}', this is '{problem.Model.Name}': its times are taken all the same.");
            }
        }

        return lines;
    }

    private static string Summary(PlanningProblem problem, DeploymentPlan plan)
    {
        double capacity = plan.Predicted.RequestsPerSecond, demand = problem.Workload.Arrivals.RequestsPerSecond;
        string load = demand < capacity
            ? Text($"{demand / capacity * 100:F0} % of it are asked for")
            : Text($"{demand:G3} are asked for, so requests pile up");
        string alone = plan.Replicas.Count == 1 && plan.Replicas[0].Stages.Count == 1
            ? $" One device alone, '{plan.Replicas[0].Stages[0].Device}', is best." : "";
        return Text($"{plan.Replicas.Count} replicas sustain {capacity:G3} requests per second; {load}.{alone}");
    }

    private static string Replica(ReplicaPlan replica)
    {
        string what = replica.Role switch
        {
            ReplicaRole.Prefill => Text($"prefills {replica.PrefillTokensPerSecond:F0} tokens per second"),
            ReplicaRole.Decode => Text($"decodes {replica.DecodeTokensPerSecond:F0} tokens per second in {replica.DecodeSlots} slots"),
            _ => Text($"prefills for {replica.PrefillShare * 100:F0} % of its time and decodes in {replica.DecodeSlots} slots for the rest"),
        };
        string limit = replica.Bottleneck.Kind switch
        {
            "latency" => "the way through all its stages limits it: more slots than fit would keep them busy",
            "link" => $"the network at {replica.Bottleneck.At} limits it",
            _ => $"'{replica.Bottleneck.At}' limits it",
        };
        return $"{replica.Name} {what}; {limit}.";
    }

    private static string Stage(PlanningProblem problem, ReplicaPlan replica, StagePlan stage)
    {
        DeviceProfile device = problem.Cluster.Devices[problem.Cluster.IndexOf(stage.Device)];
        double full = (double)stage.MemoryBytes / device.MemoryBytes;
        string why = stage.Device == replica.Bottleneck.At
            ? "the slowest of its replica"
            : stage.MemoryBytes + AnotherLayerBytes(problem, replica) > device.MemoryBytes ? "as many as fit its memory" : "its share by speed";
        return Text($"'{stage.Device}' holds {stage.Layers.Count} layers of {replica.Name}, {why}; memory {full * 100:F0} % full.");
    }

    /// <summary>What one more layer would take of a device of <paramref name="replica"/>: weights and KV cache.</summary>
    internal static long AnotherLayerBytes(PlanningProblem problem, ReplicaPlan replica) => problem.LargestLayerBytes + (problem.LargestKvBytes
        * (replica.Role == ReplicaRole.Prefill ? problem.Work.PrefillKvTokens : problem.Work.DecodeKvTokens(Math.Max(1, replica.DecodeSlots))));

    private static string Unused(PlanningProblem problem, string name)
    {
        DeviceProfile device = problem.Cluster.Devices[problem.Cluster.IndexOf(name)];
        long least = problem.LargestLayerBytes + problem.LargestKvBytes;
        return device.MemoryBytes < least
            ? $"'{name}' is unused: its {device.MemoryBytes} bytes do not hold one layer."
            : $"'{name}' is unused: no replica with it, and none of the others, would serve more.";
    }

    private static string? Help(DeploymentPlan plan, string rank)
    {
        double prefill = 0, decode = 0;
        foreach (ReplicaPlan replica in plan.Replicas)
        {
            prefill += replica.Role == ReplicaRole.Prefill ? 1 : 0;
            decode += replica.Role == ReplicaRole.Decode ? 1 : 0;
        }

        ReplicaPlan? slowest = plan.Replicas.Where(item => item.Bottleneck.Seconds > 0).MaxBy(item => item.Bottleneck.Seconds);
        return slowest is null || prefill + decode == 0
            ? null : $"What would help {rank}: a faster {(slowest.Bottleneck.Kind == "link" ? "link" : "device")} at {slowest.Bottleneck.At}, or devices to relieve {slowest.Name}.";
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
