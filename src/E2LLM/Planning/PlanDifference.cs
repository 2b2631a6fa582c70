using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>What must be done to get from one plan to another. Stateless; thread-safe.</summary>
internal static class PlanDifference
{
    /// <summary>
    /// Bytes of weights that devices must load for <paramref name="next"/> and do not hold in <paramref name="current"/> (null: they hold nothing). A role flip moves
    /// nothing, nor does a shorter layer range; KV caches are not counted.
    /// </summary>
    public static long MovedBytes(DeploymentPlan? current, DeploymentPlan next, ModelCost model)
    {
        ArgumentNullException.ThrowIfNull(next);
        ArgumentNullException.ThrowIfNull(model);
        var held = new Dictionary<string, StagePlan>(StringComparer.Ordinal);
        foreach (ReplicaPlan replica in current?.Replicas ?? [])
        {
            foreach (StagePlan stage in replica.Stages)
            {
                held[stage.Device] = stage;
            }
        }

        long moved = 0;
        foreach (ReplicaPlan replica in next.Replicas)
        {
            foreach (StagePlan stage in replica.Stages)
            {
                moved += held.TryGetValue(stage.Device, out StagePlan? old)
                    ? MovedBytes(old.Layers, old.Embedding, old.Head, stage.Layers, stage.Embedding, stage.Head, model)
                    : model.WeightBytes(stage.Layers, stage.Embedding, stage.Head);
            }
        }

        return moved;
    }

    internal static long MovedBytes(
        LayerRange oldLayers, bool oldEmbedding, bool oldHead, LayerRange layers, bool embedding, bool head, ModelCost model)
    {
        long bytes = 0;
        for (int i = layers.Start; i < layers.End; i++)
        {
            bytes += oldLayers.Contains(i) ? 0 : model.Layers[i].WeightBytes;
        }

        // A tied head is the embedding matrix: who has one has the other.
        bool hadEmbedding = oldEmbedding || (model.TiedHead && oldHead), hadHead = oldHead || (model.TiedHead && oldEmbedding);
        bool needsHead = head && !hadHead, needsEmbedding = embedding && !hadEmbedding && !(needsHead && model.TiedHead);
        return bytes + (needsEmbedding ? model.EmbeddingBytes : 0) + (needsHead ? model.HeadBytes : 0);
    }
}
