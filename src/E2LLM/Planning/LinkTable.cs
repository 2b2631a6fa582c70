using E2LLM.Costs;

namespace E2LLM.Planning;

/// <summary>All links of a cluster by index, port limits applied. Immutable; thread-safe.</summary>
internal sealed class LinkTable
{
    private readonly int count;
    private readonly NetworkLink? common;
    private readonly NetworkLink?[]? links;
    private readonly double[]? ports;
    private readonly double[]? fastest;

    public LinkTable(Cluster cluster)
    {
        count = cluster.Devices.Count;
        if (cluster.HasUniformLinks)
        {
            common = cluster.DefaultLink;
            return;
        }

        var index = new Dictionary<string, int>(count, StringComparer.Ordinal);
        for (int i = 0; i < count; i++)
        {
            index[cluster.Devices[i].Name] = i;
        }

        ports = new double[count];
        Array.Fill(ports, double.PositiveInfinity);
        foreach (PortLimit port in cluster.Ports)
        {
            ports[index[port.Device]] = port.BytesPerSecond;
        }

        links = new NetworkLink?[count * count];
        Array.Fill(links, cluster.DefaultLink);
        foreach (LinkPair pair in cluster.Pairs.Reverse())
        {
            links[(index[pair.To] * count) + index[pair.From]] = pair.Link;
        }

        // Directions that were given themselves win over reverses, so they are written last; of two alike the first counts.
        for (int i = cluster.Pairs.Count - 1; i >= 0; i--)
        {
            LinkPair pair = cluster.Pairs[i];
            links[(index[pair.From] * count) + index[pair.To]] = pair.Link;
        }

        fastest = new double[count];
        for (int i = 0; i < count; i++)
        {
            for (int j = 0; j < count; j++)
            {
                double port = Math.Min(ports[i], ports[j]);
                if (links[(i * count) + j] is { } link && port < link.BytesPerSecond)
                {
                    links[(i * count) + j] = link with { BytesPerSecond = port };
                }

                if (i != j && links[(i * count) + j] is { } usable)
                {
                    fastest[i] = Math.Max(fastest[i], usable.BytesPerSecond);
                    fastest[j] = Math.Max(fastest[j], usable.BytesPerSecond);
                }
            }
        }
    }

    /// <summary>The link from one device to another, or null.</summary>
    public NetworkLink? this[int from, int to] => links is null ? common : links[(from * count) + to];

    /// <summary>Bytes per second that a device's port passes: its limit, or the fastest link it has.</summary>
    public double PortBytesPerSecond(int device)
    {
        if (links is null)
        {
            return common?.BytesPerSecond ?? double.PositiveInfinity;
        }

        return Math.Min(ports![device], fastest![device] > 0 ? fastest[device] : double.PositiveInfinity);
    }

    /// <summary>Whether all ordered pairs among <paramref name="devices"/> have the same link.</summary>
    public bool IsUniform(int[] devices)
    {
        if (links is null || devices.Length < 2)
        {
            return true;
        }

        NetworkLink? first = this[devices[0], devices[1]];
        foreach (int i in devices)
        {
            foreach (int j in devices)
            {
                if (i != j && (this[i, j] is null || this[i, j] != first))
                {
                    return false;
                }
            }
        }

        return true;
    }

    /// <summary>The largest speed and the smallest round trip among <paramref name="devices"/>.</summary>
    public NetworkLink Best(int[] devices)
    {
        if (links is null)
        {
            return common ?? new NetworkLink(double.PositiveInfinity, 0);
        }

        double speed = 0, roundTrip = double.PositiveInfinity;
        foreach (int i in devices)
        {
            foreach (int j in devices)
            {
                if (i != j && this[i, j] is { } link)
                {
                    speed = Math.Max(speed, link.BytesPerSecond);
                    roundTrip = Math.Min(roundTrip, link.RoundTripSeconds);
                }
            }
        }

        return speed > 0 ? new NetworkLink(speed, roundTrip) : new NetworkLink(double.PositiveInfinity, 0);
    }

    /// <summary>
    /// A number that is the same for devices whose links are alike, whatever they are called: the sum of inverse speed and round trip over the links that leave it, and over those that come, weighed so that devices which
    /// only differ in the direction of their links differ.
    /// </summary>
    public double Signature(int device)
    {
        if (links is null)
        {
            return 0;
        }

        var leaving = new double[count];
        var coming = new double[count];
        for (int other = 0; other < count; other++)
        {
            if (other != device)
            {
                leaving[other] = this[device, other] is { } there ? (1 / there.BytesPerSecond) + there.RoundTripSeconds : 1e9;
                coming[other] = this[other, device] is { } back ? (1 / back.BytesPerSecond) + back.RoundTripSeconds : 1e9;
            }
        }

        // Sorted, so that the sum does not depend on the order of the devices by a rounding either.
        Array.Sort(leaving);
        Array.Sort(coming);
        const double comingWeight = 1.6180339887;
        return leaving.Sum() + (comingWeight * coming.Sum());
    }
}
