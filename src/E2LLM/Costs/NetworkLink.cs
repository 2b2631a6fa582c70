namespace E2LLM.Costs;

/// <summary>One direction of a connection between two devices. Immutable.</summary>
/// <param name="BytesPerSecond">Bytes that pass per second when nothing else uses the link; positive and finite.</param>
/// <param name="RoundTripSeconds">Seconds for a small message to go and its answer to come; zero or more.</param>
public sealed record NetworkLink(double BytesPerSecond, double RoundTripSeconds)
{
    /// <summary>Seconds until <paramref name="bytes"/> have arrived on an idle link: <c>roundTrip / 2 + bytes / bytesPerSecond</c>.</summary>
    public double TransferSeconds(double bytes) => (RoundTripSeconds / 2) + (bytes / BytesPerSecond);

    /// <summary>Seconds for which <paramref name="bytes"/> keep the link busy: latency is waited for, not occupied.</summary>
    public double BusySeconds(double bytes) => bytes / BytesPerSecond;
}

/// <summary>A link given for one ordered pair of devices. Immutable.</summary>
/// <param name="From">Name of the sending device.</param>
/// <param name="To">Name of the receiving device.</param>
/// <param name="Link">The link; it also serves the reverse direction unless that is given too.</param>
public sealed record LinkPair(string From, string To, NetworkLink Link);

/// <summary>The most a device's network port carries in each direction, all its links together. Immutable.</summary>
/// <param name="Device">Name of the device.</param>
/// <param name="BytesPerSecond">Bytes per second in each direction; positive and finite.</param>
public sealed record PortLimit(string Device, double BytesPerSecond);
