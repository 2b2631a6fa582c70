using System.Globalization;
using E2LLM.Costs;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>
/// What a stage process emulates: how much slower it computes, and the links of a cluster in the place of the loopback interface. Before it serves, it profiles the layers that it is going to
/// hold: in the process that will serve them, since how far the just-in-time compiler has come decides as much as the machine. Immutable.
/// </summary>
/// <param name="Slowdown">Times as long that its work takes.</param>
/// <param name="ClusterPath">The emulated cluster as JSON, whose links are kept to.</param>
/// <param name="ModelPath">The model's file, for the profile alone.</param>
/// <param name="Layers">What it profiles; none where it gets no layers.</param>
/// <param name="IsFirst">Whether it embeds tokens.</param>
internal sealed record Emulation(double Slowdown, string ClusterPath, string ModelPath, LayerRange Layers, bool IsFirst)
{
    public static Emulation Parse(string[] args) => new(
        double.Parse(args[0], CultureInfo.InvariantCulture), args[1], args[2],
        new LayerRange(int.Parse(args[3], CultureInfo.InvariantCulture), int.Parse(args[4], CultureInfo.InvariantCulture)), args[5] == "1");

    public string[] ToArguments() =>
        [Slowdown.ToString("R", CultureInfo.InvariantCulture), ClusterPath, ModelPath, Text(Layers.Start), Text(Layers.End), IsFirst ? "1" : "0"];

    /// <summary>Measures this process's layers, writes the device's profile in one line, empty where there are no layers, and gives the clock that its work is counted by from now on.</summary>
    public SteadyClock Begin(string device, TextWriter output)
    {
        SteadyClock clock = SteadyClock.Of(ModelPath);
        output.WriteLine(Layers.Count == 0 ? "" : ProfileProgram.Measure(device, ModelPath, Layers, IsFirst, clock).ToJson().ReplaceLineEndings(" "));
        return clock;
    }

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

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}
