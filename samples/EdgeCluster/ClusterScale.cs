using E2LLM.Costs;

namespace E2LLM.Samples.EdgeCluster;

/// <summary>Makes the embedded devices as large for another model as they are for the embedded one.</summary>
internal static class ClusterScale
{
    // Positions of keys and values that count with the weights: a few requests of the sample.
    private const int KvTokens = 1024;

    /// <summary>
    /// The same devices with memory and speeds multiplied alike, for a model that is larger than the embedded one; a smaller one gets them unchanged,
    /// since what a pass needs besides the weights does not shrink with them.
    /// </summary>
    public static (Cluster Cluster, double Factor) Fit(Cluster cluster, ModelCost model, ModelCost embedded)
    {
        double factor = Math.Max(1, (double)Bytes(model) / Bytes(embedded));
        return factor == 1
            ? (cluster, 1)
            : (cluster with
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
            }, factor);
    }

    private static long Bytes(ModelCost model) => model.WeightBytes(new LayerRange(0, model.LayerCount), true, true) + (KvTokens * model.KvBytesPerToken);
}
