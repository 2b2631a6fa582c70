namespace E2LLM.Costs;

/// <summary>
/// What planning and simulation know of one device. Immutable; safe to share. The speeds are *achieved* ones: peak figures times a stated efficiency.
/// </summary>
public sealed record DeviceProfile
{
    /// <summary>Name, unique in its cluster.</summary>
    public required string Name { get; init; }

    /// <summary>Bytes that weights, KV cache and activations may use together; zero makes the device unusable.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Achieved floating-point operations per second; positive and finite.</summary>
    public required double ComputeFlopsPerSecond { get; init; }

    /// <summary>Achieved bytes per second read from its memory; positive and finite.</summary>
    public required double MemoryBytesPerSecond { get; init; }

    /// <summary>Seconds added to every pass through a stage on this device (launch, synchronisation, framing). Default 0.</summary>
    public double StageOverheadSeconds { get; init; }

    /// <summary>Host memory that may hold weights which do not fit, where the planner is allowed to spill. Default 0.</summary>
    public long HostMemoryBytes { get; init; }

    /// <summary>Bytes per second at which spilled weights are read from host memory; needed where <see cref="HostMemoryBytes"/> is positive.</summary>
    public double HostBytesPerSecond { get; init; }

    /// <summary>Measured times; where given they take the place of the two speeds.</summary>
    public MeasuredProfile? Profile { get; init; }

    /// <summary>Reads one device: an element of <c>devices</c> in the JSON format of clusters.</summary>
    /// <exception cref="DescriptionFormatException">The text is not such a description; the message has the path.</exception>
    public static DeviceProfile Parse(string json) => ClusterJson.ReadDevice(json);

    /// <summary>Writes one device, indented: an element of <c>devices</c> in the JSON format of clusters.</summary>
    public string ToJson() => ClusterJson.WriteDevice(this);
}
