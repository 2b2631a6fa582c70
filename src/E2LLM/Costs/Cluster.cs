namespace E2LLM.Costs;

/// <summary>
/// All devices and links given to the planner. Immutable; safe to share. Construction checks nothing, so that a planner can
/// answer a senseless cluster with the reason; <see cref="FindProblem"/> is that check.
/// </summary>
public sealed record Cluster
{
    /// <summary>The devices, names unique.</summary>
    public required IReadOnlyList<DeviceProfile> Devices { get; init; }

    /// <summary>Link of every pair that has none of its own; null: such pairs are not connected.</summary>
    public NetworkLink? DefaultLink { get; init; }

    /// <summary>Port limits; a device without one is limited by its links only.</summary>
    public IReadOnlyList<PortLimit> Ports { get; init; } = [];

    /// <summary>Links of single pairs, each one direction; the reverse is the same unless given.</summary>
    public IReadOnlyList<LinkPair> Pairs { get; init; } = [];

    /// <summary>Reads the JSON format of clusters.</summary>
    /// <exception cref="DescriptionFormatException">The text is not such a description; the message has the path.</exception>
    public static Cluster Parse(string json) => ClusterJson.Read(json);

    /// <summary>Reads a file in the JSON format of clusters.</summary>
    /// <exception cref="DescriptionFormatException">The file holds no such description; the message has the path in it.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static Cluster Load(string path) => Parse(File.ReadAllText(path));

    /// <summary>Writes the JSON format of clusters, indented.</summary>
    public string ToJson() => ClusterJson.Write(this);

    /// <summary>Index of the device called <paramref name="name"/>, or -1.</summary>
    public int IndexOf(string name)
    {
        for (int i = 0; i < Devices.Count; i++)
        {
            if (string.Equals(Devices[i].Name, name, StringComparison.Ordinal))
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>
    /// The link from one device to another, its speed lowered to the slower of the two ports; null where they are not connected.
    /// A pair given in that direction wins over one given in reverse, that over the default.
    /// </summary>
    public NetworkLink? FindLink(string from, string to)
    {
        NetworkLink? link = null;
        foreach (LinkPair pair in Pairs)
        {
            if (pair.From == from && pair.To == to)
            {
                link = pair.Link;
                break;
            }

            if (pair.From == to && pair.To == from)
            {
                link ??= pair.Link;
            }
        }

        link ??= DefaultLink;
        if (link is null)
        {
            return null;
        }

        double port = Math.Min(PortBytesPerSecond(from), PortBytesPerSecond(to));
        return port < link.BytesPerSecond ? link with { BytesPerSecond = port } : link;
    }

    /// <summary>The port limit of a device, or positive infinity where none is given.</summary>
    public double PortBytesPerSecond(string device)
    {
        foreach (PortLimit port in Ports)
        {
            if (port.Device == device)
            {
                return port.BytesPerSecond;
            }
        }

        return double.PositiveInfinity;
    }

    /// <summary>Whether every pair of devices has the same link (then the order of a replica's stages does not matter for it).</summary>
    public bool HasUniformLinks
    {
        get
        {
            if (DefaultLink is null)
            {
                return Devices.Count <= 1;
            }

            foreach (LinkPair pair in Pairs)
            {
                if (pair.Link != DefaultLink)
                {
                    return false;
                }
            }

            foreach (PortLimit port in Ports)
            {
                if (port.BytesPerSecond < DefaultLink.BytesPerSecond)
                {
                    return false;
                }
            }

            return true;
        }
    }

    /// <summary>The first thing wrong with this cluster, or null where nothing is.</summary>
    public CostProblem? FindProblem() => ClusterCheck.Find(this);
}

/// <summary>One thing wrong with a description. Immutable.</summary>
/// <param name="At">Where, for example <c>devices[2].memoryBytesPerSecond</c>.</param>
/// <param name="Message">What is wrong, with the value found.</param>
public sealed record CostProblem(string At, string Message);
