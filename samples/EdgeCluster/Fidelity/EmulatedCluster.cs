using E2LLM.Costs;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>A cluster as it can be emulated here: each device a slowdown of this machine's own speed, links slowed alike. Stateless.</summary>
internal static class EmulatedCluster
{
    // The fastest device's slowdown: work of some ten microseconds becomes milliseconds, beside which what the host itself adds to a hop is small, and all devices together load a fraction of a core.
    private const double LeastSlowdown = 100;

    // Half of the devices' unlikeness in memory speed, on a logarithmic scale: the slowest shall not make the run last.
    private const double Unlikeness = 0.5;

    // The sample's links are those of real devices while its devices are a thousandth of them: slowed, so that transfers take time here too.
    private const double LinkSlowdown = 40;

    /// <summary>How much slower than this machine each device of the cluster is made.</summary>
    public static IReadOnlyDictionary<string, double> Slowdowns(Cluster cluster)
    {
        double fastest = cluster.Devices.Max(device => device.MemoryBytesPerSecond);
        return cluster.Devices.ToDictionary(device => device.Name, device => LeastSlowdown * Math.Pow(fastest / device.MemoryBytesPerSecond, Unlikeness));
    }

    /// <summary>The same links at a fraction of their speed.</summary>
    public static Cluster WithSlowLinks(Cluster cluster) => cluster with
    {
        DefaultLink = Slow(cluster.DefaultLink),
        Ports = [.. cluster.Ports.Select(port => port with { BytesPerSecond = port.BytesPerSecond / LinkSlowdown })],
        Pairs = [.. cluster.Pairs.Select(pair => pair with { Link = Slow(pair.Link)! })],
    };

    /// <summary>Every round trip longer by <paramref name="seconds"/>.</summary>
    public static Cluster WithLatency(Cluster cluster, double seconds) => cluster with
    {
        DefaultLink = Later(cluster.DefaultLink, seconds),
        Pairs = [.. cluster.Pairs.Select(pair => pair with { Link = Later(pair.Link, seconds)! })],
    };

    /// <summary>Devices as measured, each as many times slower as it is emulated; those without a profile as they are.</summary>
    public static Cluster WithProfiles(Cluster cluster, Func<string, DeviceProfile?> profile, IReadOnlyDictionary<string, double> slowdowns) => cluster with
    {
        Devices = [.. cluster.Devices.Select(device => profile(device.Name) is { Profile: { } measured } own
            ? device with { Profile = Slower(measured, slowdowns[device.Name]), StageOverheadSeconds = own.StageOverheadSeconds * slowdowns[device.Name] } : device)],
    };

    private static MeasuredProfile Slower(MeasuredProfile profile, double times) => profile with
    {
        Prefill = [.. profile.Prefill.Select(point => point with { SecondsPerLayer = point.SecondsPerLayer * times })],
        Decode = [.. profile.Decode.Select(point => point with { SecondsPerLayer = point.SecondsPerLayer * times })],
        HeadSeconds = profile.HeadSeconds * times,
        EmbeddingSeconds = profile.EmbeddingSeconds * times,
    };

    private static NetworkLink? Slow(NetworkLink? link) => link is null ? null : link with { BytesPerSecond = link.BytesPerSecond / LinkSlowdown };

    private static NetworkLink? Later(NetworkLink? link, double seconds) => link is null ? null : link with { RoundTripSeconds = link.RoundTripSeconds + seconds };
}
