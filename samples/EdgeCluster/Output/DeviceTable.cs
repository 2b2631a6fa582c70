using System.Globalization;
using E2LLM.Costs;
using E2LLM.Samples.EdgeCluster.Stages;

namespace E2LLM.Samples.EdgeCluster.Output;

/// <summary>What each device holds, beside the memory that the cluster's description gives it.</summary>
internal static class DeviceTable
{
    public static void Write(TextWriter output, Cluster cluster, IReadOnlyDictionary<string, HeldWeights> held)
    {
        int width = cluster.Devices.Max(device => device.Name.Length);
        output.WriteLine($"  {"device".PadRight(width)}  memory     holds                    weights    keys and values");
        foreach (DeviceProfile device in cluster.Devices)
        {
            output.WriteLine($"  {device.Name.PadRight(width)}  {Megabytes(device.MemoryBytes)}  {(held.TryGetValue(device.Name, out HeldWeights? now) ? Row(now) : "nothing")}");
        }
    }

    /// <summary>What a device has loaded now, as a sentence.</summary>
    public static string Tell(HeldWeights now) =>
        string.Create(CultureInfo.InvariantCulture, $"{now.Part.Device} holds {Part(now.Part)} now: {now.SentBytes / 1e6:F1} MB came over the stream, {now.WeightBytes / 1e6:F1} MB are held");

    private static string Row(HeldWeights now) => $"{Part(now.Part),-24} {Megabytes(now.WeightBytes)}  {Megabytes(now.KvBytes)} at most";

    private static string Part(SliceRequest part) => $"layers {part.Layers}{(part.Embedding ? " +embedding" : "")}{(part.Head ? " +head" : "")}";

    private static string Megabytes(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e6,6:F2} MB");
}
