using E2LLM.Costs;

namespace E2LLM.Simulation.Models;

/// <summary>Ports and links of a cluster by device index. Immutable; shared by runs.</summary>
internal sealed class NetworkModel
{
    private NetworkModel(int deviceCount)
    {
        DeviceCount = deviceCount;
        PortBytesPerSecond = new double[deviceCount];
        LinkBytesPerSecond = new double[deviceCount * deviceCount];
        LinkDelaySeconds = new double[deviceCount * deviceCount];
    }

    public int DeviceCount { get; }

    /// <summary>Limit of each device's port in each direction.</summary>
    public double[] PortBytesPerSecond { get; }

    /// <summary>Speed and one-way delay of each ordered pair, <c>[from * DeviceCount + to]</c>; zero speed where not connected.</summary>
    public double[] LinkBytesPerSecond { get; }

    public double[] LinkDelaySeconds { get; }

    /// <summary>One-way delay; zero from a device to itself.</summary>
    public double DelaySeconds(int from, int to) => LinkDelaySeconds[(from * DeviceCount) + to];

    /// <summary>Seconds for a message between two stages while nothing else is on the network.</summary>
    public double MessageSeconds(int from, int to, double bytes) => from == to
        ? 0
        : DelaySeconds(from, to) + (bytes / Math.Min(LinkBytesPerSecond[(from * DeviceCount) + to], Math.Min(PortBytesPerSecond[from], PortBytesPerSecond[to])));

    /// <summary>Devices without any link.</summary>
    public static NetworkModel Isolated(int deviceCount) => new(deviceCount);

    /// <summary>
    /// Reads the network of a cluster. A device whose port has no stated limit has one port as fast as its fastest link: devices on a
    /// switch have one cable each, and a device that sends to two others at once has no second one.
    /// </summary>
    public static NetworkModel Of(Cluster cluster)
    {
        int n = cluster.Devices.Count;
        var model = new NetworkModel(n);
        for (int i = 0; i < n; i++)
        {
            double fastest = 0;
            for (int j = 0; j < n; j++)
            {
                if (i != j && cluster.FindLink(cluster.Devices[i].Name, cluster.Devices[j].Name) is { } link)
                {
                    model.LinkBytesPerSecond[(i * n) + j] = link.BytesPerSecond;
                    model.LinkDelaySeconds[(i * n) + j] = link.RoundTripSeconds / 2;
                    fastest = Math.Max(fastest, link.BytesPerSecond);
                }
            }

            double port = cluster.PortBytesPerSecond(cluster.Devices[i].Name);
            model.PortBytesPerSecond[i] = double.IsFinite(port) ? port : fastest > 0 ? fastest : 1;
        }

        return model;
    }
}
