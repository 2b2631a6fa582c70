using E2LLM.Costs;

namespace E2LLM.Samples.EdgeCluster;

/// <summary>Makes the embedded devices as large for another model as they are for the embedded one.</summary>
internal static class ClusterScale
{
    // Positions of keys and values that count with the weights: a few requests of the sample.
    private const int KvTokens = 1024;

    /// <summary>
    /// How much larger devices must be for a model than for the embedded one; 1 for a smaller one, since what a pass needs besides the weights does not
    /// shrink with them.
    /// </summary>
    public static double FactorFor(ModelCost model, ModelCost embedded) => Math.Max(1, (double)Bytes(model) / Bytes(embedded));

    /// <summary>The same devices with memory and speeds multiplied alike.</summary>
    public static Cluster Scale(Cluster cluster, double factor) => cluster with
    {
        Devices =
        [
            .. cluster.Devices.Select(device => device with
            {
                MemoryBytes = (long)(device.MemoryBytes * factor),
                ComputeFlopsPerSecond = device.ComputeFlopsPerSecond * factor,
                MemoryBytesPerSecond = device.MemoryBytesPerSecond * factor,
            }),
        ],
    };

    private static long Bytes(ModelCost model) => model.WeightBytes(new LayerRange(0, model.LayerCount), true, true) + (KvTokens * model.KvBytesPerToken);
}
