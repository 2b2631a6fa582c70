using System.Globalization;

namespace E2LLM.Costs;

/// <summary>Finds what is wrong with a cluster. Stateless.</summary>
internal static class ClusterCheck
{
    public static CostProblem? Find(Cluster cluster)
    {
        if (cluster.Devices is null || cluster.Devices.Count == 0)
        {
            return new CostProblem("devices", "The cluster has no devices.");
        }

        var names = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0; i < cluster.Devices.Count; i++)
        {
            DeviceProfile? device = cluster.Devices[i];
            if (device is null || string.IsNullOrEmpty(device.Name))
            {
                return new CostProblem($"devices[{i}].name", "The device has no name.");
            }

            if (!names.Add(device.Name))
            {
                return new CostProblem($"devices[{i}].name", $"The name '{device.Name}' is used twice.");
            }

            CostProblem? problem = Device(device, $"devices[{i}]");
            if (problem is not null)
            {
                return problem;
            }
        }

        return Links(cluster, names);
    }

    private static CostProblem? Device(DeviceProfile device, string at)
    {
        if (device.MemoryBytes < 0)
        {
            return new CostProblem($"{at}.memoryBytes", $"Memory is negative: {device.MemoryBytes}.");
        }

        if (device.HostMemoryBytes < 0)
        {
            return new CostProblem($"{at}.hostMemoryBytes", $"Host memory is negative: {device.HostMemoryBytes}.");
        }

        return Speed(device.ComputeFlopsPerSecond, $"{at}.computeFlopsPerSecond")
            ?? Speed(device.MemoryBytesPerSecond, $"{at}.memoryBytesPerSecond")
            ?? (device.HostMemoryBytes > 0 ? Speed(device.HostBytesPerSecond, $"{at}.hostBytesPerSecond") : null)
            ?? Seconds(device.StageOverheadSeconds, $"{at}.stageOverheadSeconds")
            ?? (device.Profile is null ? null : Profile(device.Profile, $"{at}.profile"));
    }

    private static CostProblem? Profile(MeasuredProfile profile, string at)
    {
        if (profile.Prefill is null || profile.Decode is null || profile.Prefill.Count == 0 || profile.Decode.Count == 0)
        {
            return new CostProblem(at, "A measured profile needs at least one prefill and one decode point.");
        }

        for (int i = 0; i < profile.Prefill.Count; i++)
        {
            PrefillPoint point = profile.Prefill[i];
            if (point.ChunkTokens < 1 || point.ContextTokens < 0 || !IsPositive(point.SecondsPerLayer))
            {
                return new CostProblem($"{at}.prefill[{i}]", $"Not a measurement: {point}.");
            }
        }

        for (int i = 0; i < profile.Decode.Count; i++)
        {
            DecodePoint point = profile.Decode[i];
            if (point.Batch < 1 || point.ContextTokens < 0 || !IsPositive(point.SecondsPerLayer))
            {
                return new CostProblem($"{at}.decode[{i}]", $"Not a measurement: {point}.");
            }
        }

        return profile.ErrorFraction is >= 0 and < 1
            ? Seconds(profile.HeadSeconds, $"{at}.headSeconds") ?? Seconds(profile.EmbeddingSeconds, $"{at}.embeddingSeconds")
            : new CostProblem($"{at}.errorFraction", $"Must be at least 0 and below 1, is {Text(profile.ErrorFraction)}.");
    }

    private static CostProblem? Links(Cluster cluster, HashSet<string> names)
    {
        if (cluster.DefaultLink is not null && Link(cluster.DefaultLink, "links.default") is { } wrong)
        {
            return wrong;
        }

        for (int i = 0; i < cluster.Ports.Count; i++)
        {
            PortLimit port = cluster.Ports[i];
            if (!names.Contains(port.Device))
            {
                return new CostProblem($"links.ports[{i}].device", $"There is no device '{port.Device}'.");
            }

            if (Speed(port.BytesPerSecond, $"links.ports[{i}].bytesPerSecond") is { } slow)
            {
                return slow;
            }
        }

        for (int i = 0; i < cluster.Pairs.Count; i++)
        {
            LinkPair pair = cluster.Pairs[i];
            string at = $"links.pairs[{i}]";
            if (!names.Contains(pair.From) || !names.Contains(pair.To))
            {
                return new CostProblem(at, $"There is no device '{(names.Contains(pair.From) ? pair.To : pair.From)}'.");
            }

            if (pair.From == pair.To)
            {
                return new CostProblem(at, $"'{pair.From}' is linked to itself.");
            }

            if (Link(pair.Link, at) is { } bad)
            {
                return bad;
            }
        }

        return null;
    }

    private static CostProblem? Link(NetworkLink link, string at) =>
        Speed(link.BytesPerSecond, $"{at}.bytesPerSecond") ?? Seconds(link.RoundTripSeconds, $"{at}.roundTripSeconds");

    private static CostProblem? Speed(double value, string at) =>
        IsPositive(value) ? null : new CostProblem(at, $"A speed must be positive and finite, is {Text(value)}.");

    private static CostProblem? Seconds(double value, string at) =>
        double.IsFinite(value) && value >= 0 ? null : new CostProblem(at, $"Seconds must be finite and not negative, are {Text(value)}.");

    private static bool IsPositive(double value) => double.IsFinite(value) && value > 0;

    private static string Text(double value) => value.ToString(CultureInfo.InvariantCulture);
}
