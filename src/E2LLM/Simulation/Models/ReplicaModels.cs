using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Simulation.Models;

/// <summary>Turns a plan on a cluster into replicas that can be simulated. Stateless.</summary>
internal static class ReplicaModels
{
    // Context at which routers reckon with the length of a decode step; the simulated steps themselves have the real one.
    private const double MiddlingContextTokens = 1024;

    /// <summary>Builds all replicas of <paramref name="plan"/>.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="cluster">Its devices and links.</param>
    /// <param name="model">What the model costs.</param>
    /// <param name="chunkTokens">Most prompt tokens of a pass where memory allows.</param>
    /// <param name="longestPrompt">Tokens of the longest prompt that will come: no pass has to be larger, which matters where memory is tight.</param>
    /// <exception cref="ArgumentException">The plan does not fit the cluster or the model; the message names the replica and the stage.</exception>
    public static ReplicaModel[] Build(DeploymentPlan plan, Cluster cluster, ModelCost model, int chunkTokens, int longestPrompt = int.MaxValue)
    {
        if (plan.Replicas.Count == 0)
        {
            throw new ArgumentException("The plan has no replicas.", nameof(plan));
        }

        KvGeometry geometry = KvGeometry.Of(model);
        return [.. plan.Replicas.Select(r => Build(r, cluster, model, geometry, chunkTokens, longestPrompt))];
    }

    private static ReplicaModel Build(
        ReplicaPlan replica, Cluster cluster, ModelCost model, KvGeometry geometry, int chunkTokens, int longestPrompt)
    {
        int next = 0;
        int passTokens = int.MaxValue, batch = StageMemory.DecodeBatch(replica.DecodeSlots, replica.Stages.Count);
        (int Tokens, int LogitsRows) planned = StageMemory.LargestPass(replica.Role != ReplicaRole.Decode, chunkTokens, longestPrompt, batch);
        var stages = new List<StageModel>();
        foreach (StagePlan stage in replica.Stages)
        {
            int device = cluster.IndexOf(stage.Device);
            if (device < 0)
            {
                throw new ArgumentException($"Replica {replica.Name}: the cluster has no device '{stage.Device}'.");
            }

            if (stage.Layers.Start != next || stage.Layers.End > model.LayerCount)
            {
                throw new ArgumentException($"Replica {replica.Name}: stage {stages.Count} has layers {stage.Layers}, expected to start at {next} of {model.LayerCount}.");
            }

            if (stages.Count > 0 && cluster.FindLink(stages[^1].DeviceName, stage.Device) is null)
            {
                throw new ArgumentException($"Replica {replica.Name}: {stages[^1].DeviceName} is not connected to {stage.Device}.");
            }

            next = stage.Layers.End;
            stages.Add(Stage(stage, cluster.Devices[device], device, model, geometry, planned, chunkTokens, out int tokens));
            passTokens = Math.Min(passTokens, tokens);
        }

        if (next != model.LayerCount)
        {
            throw new ArgumentException($"Replica {replica.Name} holds layers [0, {next}) of a model with {model.LayerCount}.");
        }

        int slots = replica.DecodeSlots > 0 ? replica.DecodeSlots : LentSlots(stages);
        return new ReplicaModel
        {
            Name = replica.Name,
            Role = replica.Role,
            Plan = replica,
            DecodeSlots = slots,
            PassTokens = passTokens,
            StepSecondsBySequences = [.. Enumerable.Range(0, slots + 1).Select(n => n == 0 ? 0 : StepSeconds(stages, n, cluster, model))],
            Stages = [.. stages],
            HiddenStateBytes = model.HiddenStateBytes,
            PrefillTokensPerSecond = replica.PrefillTokensPerSecond > 0 ? replica.PrefillTokensPerSecond : PrefillRate(stages, chunkTokens),
            DecodeTokensPerSecond = replica.DecodeTokensPerSecond > 0 ? replica.DecodeTokensPerSecond : slots / StepSeconds(stages, slots, cluster, model),
        };
    }

    private static StageModel Stage(
        StagePlan stage, DeviceProfile device, int index, ModelCost model, KvGeometry geometry,
        (int Tokens, int LogitsRows) planned, int chunkTokens, out int passTokens)
    {
        long weights = model.WeightBytes(stage.Layers, stage.Embedding, stage.Head);

        // A stage that needs more than the device has keeps the rest of its weights in host memory and reads them in every pass.
        double spilled = Math.Max(0, Math.Max(stage.MemoryBytes, weights) - device.MemoryBytes);
        if (spilled > device.HostMemoryBytes)
        {
            throw new ArgumentException(
                $"Stage {stage.Layers} needs {device.MemoryBytes + spilled} bytes on {device.Name}, which has {device.MemoryBytes} and {device.HostMemoryBytes} of host memory.");
        }

        // A plan that states its bytes has room for its largest pass, and what the device has beyond that may serve larger ones; one that does not gets whole chunks.
        double have = device.MemoryBytes + spilled;
        passTokens = StageMemory.PassTokens(model, stage.Head, planned, chunkTokens, stage.MemoryBytes > 0 ? have - stage.MemoryBytes : double.MaxValue);
        return new StageModel
        {
            Device = index,
            DeviceName = device.Name,
            Layers = stage.Layers,
            Times = new CostStageTimes(device, model, stage.Layers, stage.Embedding, stage.Head, spilled),
            KvCapacityBytes = Math.Max(0, have - weights - model.ActivationBytes(passTokens, planned.LogitsRows, stage.Head)),
            HostCapacityBytes = Math.Max(0, device.HostMemoryBytes - spilled),
            HostBytesPerSecond = device.HostBytesPerSecond,
            WeightBytes = weights,
            Kv = geometry.Kinds(stage.Layers),
            LastLayerKvBytesPerToken = model.Layers[stage.Layers.End - 1].KvBytesPerToken,
        };
    }

    // A prefill replica decodes only when it is lent (mixed pool) or when no decode replica is left: as many sequences of 1024 positions as fit, at most 16.
    private static int LentSlots(List<StageModel> stages) =>
        (int)Math.Clamp(stages.Min(s => s.KvCapacityBytes / Math.Max(1, s.KvBytes(1024))), 1, 16);

    private static double PrefillRate(List<StageModel> stages, int chunkTokens) =>
        chunkTokens / stages.Max(s => s.Times.PassSeconds(chunkTokens, 0, 0, 0, 1));

    private static double StepSeconds(List<StageModel> stages, int sequences, Cluster cluster, ModelCost model)
    {
        int lanes = Math.Min(stages.Count, sequences), batch = (sequences + lanes - 1) / lanes;
        double sum = 0, slowest = 0;
        for (int i = 0; i < stages.Count; i++)
        {
            double seconds = stages[i].Times.PassSeconds(0, 0, batch, MiddlingContextTokens, batch);
            sum += seconds;
            slowest = Math.Max(slowest, seconds);
            if (i > 0 && cluster.FindLink(stages[i - 1].DeviceName, stages[i].DeviceName) is { } link)
            {
                sum += link.TransferSeconds(batch * model.HiddenStateBytes);
            }
        }

        return Math.Max(sum, lanes * slowest);
    }
}
