using System.Globalization;
using E2LLM.Costs;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>What a stage process emulates: how much slower it computes, and the links of a cluster in the place of the loopback interface. Immutable.</summary>
/// <param name="Slowdown">Times as long that its work takes.</param>
/// <param name="ClusterPath">The emulated cluster as JSON, whose links are kept to.</param>
internal sealed record Emulation(double Slowdown, string ClusterPath)
{
    public static Emulation Parse(string[] args) => new(double.Parse(args[0], CultureInfo.InvariantCulture), args[1]);

    public string[] ToArguments() => [Slowdown.ToString("R", CultureInfo.InvariantCulture), ClusterPath];

    /// <summary>Wraps streams that <paramref name="device"/> opens to others: bytes leave through its port and its link at their speeds.</summary>
    public Func<Stream, string, Stream> LinksOf(string device)
    {
        Cluster cluster = Cluster.Parse(File.ReadAllText(ClusterPath));

        // A device without a stated port has one cable, as fast as its fastest link.
        double limit = cluster.PortBytesPerSecond(device);
        double fastest = cluster.Devices.Where(other => other.Name != device).Max(other => cluster.FindLink(device, other.Name)?.BytesPerSecond ?? 0);
        var port = new Pace(Math.Min(limit, fastest));
        return (stream, peer) => cluster.FindLink(device, peer) is { } link
            ? new PacedStream(stream, port, new Pace(Math.Min(link.BytesPerSecond, cluster.PortBytesPerSecond(peer))), TimeSpan.FromSeconds(link.RoundTripSeconds / 2))
            : stream;
    }
}
