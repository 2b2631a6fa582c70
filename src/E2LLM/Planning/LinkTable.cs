using E2LLM.Costs;

namespace E2LLM.Planning;

/// <summary>All links of a cluster by index, port limits applied. Immutable; thread-safe.</summary>
internal sealed class LinkTable
{
    private readonly int _count;
    private readonly NetworkLink? _common;
    private readonly NetworkLink?[]? _links;
    private readonly double[]? _ports;
    private readonly double[]? _fastest;

    public LinkTable(Cluster cluster)
    {
        _count = cluster.Devices.Count;
        if (cluster.HasUniformLinks)
        {
            _common = cluster.DefaultLink;
            return;
        }

        var index = new Dictionary<string, int>(_count, StringComparer.Ordinal);
        for (int i = 0; i < _count; i++)
        {
            index[cluster.Devices[i].Name] = i;
        }

        _ports = new double[_count];
        Array.Fill(_ports, double.PositiveInfinity);
        foreach (PortLimit port in cluster.Ports)
        {
            _ports[index[port.Device]] = port.BytesPerSecond;
        }

        _links = new NetworkLink?[_count * _count];
        Array.Fill(_links, cluster.DefaultLink);
        foreach (LinkPair pair in cluster.Pairs.Reverse())
        {
            _links[(index[pair.To] * _count) + index[pair.From]] = pair.Link;
        }

        // Directions that were given themselves win over reverses, so they are written last; of two alike the first counts.
        for (int i = cluster.Pairs.Count - 1; i >= 0; i--)
        {
            LinkPair pair = cluster.Pairs[i];
            _links[(index[pair.From] * _count) + index[pair.To]] = pair.Link;
        }

        _fastest = new double[_count];
        for (int i = 0; i < _count; i++)
        {
            for (int j = 0; j < _count; j++)
            {
                double port = Math.Min(_ports[i], _ports[j]);
                if (_links[(i * _count) + j] is { } link && port < link.BytesPerSecond)
                {
                    _links[(i * _count) + j] = link with { BytesPerSecond = port };
                }

                if (i != j && _links[(i * _count) + j] is { } usable)
                {
                    _fastest[i] = Math.Max(_fastest[i], usable.BytesPerSecond);
                    _fastest[j] = Math.Max(_fastest[j], usable.BytesPerSecond);
                }
            }
        }
    }

    /// <summary>The link from one device to another, or null.</summary>
    public NetworkLink? this[int from, int to] => _links is null ? _common : _links[(from * _count) + to];

    /// <summary>Bytes per second that a device's port passes: its limit, or the fastest link it has.</summary>
    public double PortBytesPerSecond(int device)
    {
        if (_links is null)
        {
            return _common?.BytesPerSecond ?? double.PositiveInfinity;
        }

        return Math.Min(_ports![device], _fastest![device] > 0 ? _fastest[device] : double.PositiveInfinity);
    }

    /// <summary>Whether all ordered pairs among <paramref name="devices"/> have the same link.</summary>
    public bool IsUniform(int[] devices)
    {
        if (_links is null || devices.Length < 2)
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
        if (_links is null)
        {
            return _common ?? new NetworkLink(double.PositiveInfinity, 0);
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
        if (_links is null)
        {
            return 0;
        }

        var leaving = new double[_count];
        var coming = new double[_count];
        for (int other = 0; other < _count; other++)
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
