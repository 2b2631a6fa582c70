using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>
/// Re-checks a plan against cluster, model and workload, on its own: every layer once and in order in every replica, embedding first and head last, every device
/// at most once, no stage over its memory, stages connected, KV caches able to reach a decode replica, both phases served. Stateless; thread-safe.
/// </summary>
public static class PlanValidator
{
    /// <summary>What is wrong with the plan; empty: nothing.</summary>
    public static IReadOnlyList<string> Validate(
        DeploymentPlan plan, Cluster cluster, ModelCost model, Workload workload, PlannerOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(cluster);
        options ??= new PlannerOptions();
        var problems = new List<string>();
        if (cluster.FindProblem() is { } wrong)
        {
            return [$"{wrong.At}: {wrong.Message}"];
        }

        var evaluator = new PlanEvaluator(cluster, model, workload, options);
        var used = new HashSet<string>(StringComparer.Ordinal);
        foreach (ReplicaPlan replica in plan.Replicas)
        {
            Structure(replica, model, problems);
            foreach (StagePlan stage in replica.Stages)
            {
                int device = cluster.IndexOf(stage.Device);
                if (device < 0)
                {
                    problems.Add($"{replica.Name}: there is no device '{stage.Device}'.");
                    continue;
                }

                if (!used.Add(stage.Device))
                {
                    problems.Add($"{replica.Name}: device '{stage.Device}' is used twice.");
                }

                Memory(replica, stage, cluster.Devices[device], evaluator, options, problems);
            }
        }

        foreach (string name in plan.UnusedDevices)
        {
            if (used.Contains(name) || cluster.IndexOf(name) < 0)
            {
                problems.Add($"'{name}' is called unused but is used or unknown.");
            }
        }

        if (problems.Count == 0)
        {
            Links(plan, cluster, problems);
            Service(plan, evaluator, workload, problems);
        }

        return problems;
    }

    private static void Structure(ReplicaPlan replica, ModelCost model, List<string> problems)
    {
        if (replica.Stages.Count == 0)
        {
            problems.Add($"{replica.Name}: has no stages.");
            return;
        }

        int next = 0;
        for (int j = 0; j < replica.Stages.Count; j++)
        {
            StagePlan stage = replica.Stages[j];
            if (stage.Layers.Start != next || stage.Layers.Count == 0)
            {
                problems.Add($"{replica.Name}: stage {j} has layers {stage.Layers}, layer {next} comes next.");
            }

            next = stage.Layers.End;
            if (stage.Embedding != (j == 0) || stage.Head != (j == replica.Stages.Count - 1))
            {
                problems.Add($"{replica.Name}: stage {j} has the embedding or the head in the wrong place.");
            }
        }

        if (next != model.LayerCount)
        {
            problems.Add($"{replica.Name}: its layers end at {next}, the model's at {model.LayerCount}.");
        }

        if ((replica.Role == ReplicaRole.Prefill) != (replica.DecodeSlots == 0))
        {
            problems.Add($"{replica.Name}: {replica.DecodeSlots} decode slots do not suit the role {replica.Role}.");
        }
    }

    private static void Memory(
        ReplicaPlan replica, StagePlan stage, DeviceProfile device, PlanEvaluator evaluator, PlannerOptions options, List<string> problems)
    {
        long need = evaluator.MemoryBytes(replica, stage), have = device.MemoryBytes + (options.UseHostMemory ? device.HostMemoryBytes : 0);
        if (need > have)
        {
            problems.Add($"{replica.Name}: '{stage.Device}' needs {need} bytes and has {have}.");
        }

        if (stage.MemoryBytes != need)
        {
            problems.Add($"{replica.Name}: '{stage.Device}' states {stage.MemoryBytes} bytes, the cost model {need}.");
        }
    }

    private static void Links(DeploymentPlan plan, Cluster cluster, List<string> problems)
    {
        foreach (ReplicaPlan replica in plan.Replicas)
        {
            int count = replica.Stages.Count;
            for (int j = 0; count > 1 && j < count; j++)
            {
                string from = replica.Stages[j].Device, to = replica.Stages[(j + 1) % count].Device;
                if (cluster.FindLink(from, to) is null)
                {
                    problems.Add($"{replica.Name}: '{from}' and '{to}' are not connected.");
                }
            }
        }

        foreach (ReplicaPlan from in plan.Replicas)
        {
            foreach (ReplicaPlan to in plan.Replicas)
            {
                if (from.Role == ReplicaRole.Prefill && to.Role == ReplicaRole.Decode)
                {
                    KvLinks(from, to, cluster, problems);
                }
            }
        }
    }

    private static void KvLinks(ReplicaPlan from, ReplicaPlan to, Cluster cluster, List<string> problems)
    {
        foreach (StagePlan sender in from.Stages)
        {
            foreach (StagePlan receiver in to.Stages)
            {
                if (sender.Layers.Intersect(receiver.Layers).Count > 0 && cluster.FindLink(sender.Device, receiver.Device) is null)
                {
                    problems.Add($"KV cache cannot pass from '{sender.Device}' ({from.Name}) to '{receiver.Device}' ({to.Name}).");
                }
            }
        }
    }

    private static void Service(DeploymentPlan plan, PlanEvaluator evaluator, Workload workload, List<string> problems)
    {
        if (problems.Count > 0)
        {
            return;
        }

        double prefill = evaluator.Totals(plan, out double decode);
        if (!(prefill > 0) || !(decode > 0))
        {
            problems.Add($"The plan serves {prefill} prompts and {decode} generations per second: one phase is missing.");
        }

        foreach (ReplicaPlan replica in plan.Replicas)
        {
            double cycle = evaluator.Evaluate(replica).CycleSeconds;
            if (cycle > workload.Targets.MaxDecodeCycleSeconds * (1 + 1e-9))
            {
                problems.Add($"{replica.Name}: a decode step takes {cycle} s, the targets allow {workload.Targets.MaxDecodeCycleSeconds} s.");
            }
        }
    }
}
