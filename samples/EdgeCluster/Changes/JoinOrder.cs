using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using E2LLM.Costs;

namespace E2LLM.Samples.EdgeCluster.Changes;

/// <summary>Which device joins, and when: <c>DEVICE@TOKEN</c>.</summary>
/// <param name="Device">A device of <c>newcomers.json</c>.</param>
/// <param name="Token">It joins when this many tokens have come out of the cluster, of all requests together.</param>
internal sealed record JoinOrder(string Device, int Token)
{
    public static bool TryParse(string text, [NotNullWhen(true)] out JoinOrder? order)
    {
        int at = text.LastIndexOf('@');
        order = at > 0 && int.TryParse(text[(at + 1)..], NumberStyles.None, CultureInfo.InvariantCulture, out int token) && token > 0
            ? new JoinOrder(text[..at], token) : null;
        return order is not null;
    }

    /// <summary>What is known of the device.</summary>
    /// <exception cref="ArgumentException">There is no such newcomer, or the cluster has such a device already.</exception>
    public DeviceProfile In(Cluster newcomers, Cluster cluster)
    {
        int index = newcomers.IndexOf(Device);
        return index < 0 ? throw new ArgumentException($"'{Device}' cannot join; newcomers: {string.Join(", ", newcomers.Devices.Select(device => device.Name))}.")
            : cluster.IndexOf(Device) >= 0 ? throw new ArgumentException($"the cluster has a device '{Device}' already.")
            : newcomers.Devices[index];
    }
}
