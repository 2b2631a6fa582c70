using E2LLM.Deployment;

namespace E2LLM.Simulation;

/// <summary>A device (or one link) that is gone for a while. Immutable.</summary>
/// <param name="Device">Name of the device, or of the sending device of the link.</param>
/// <param name="DownSeconds">When it goes.</param>
/// <param name="UpSeconds">When it is back; <see cref="double.PositiveInfinity"/>: never. Its replica serves again from then on.</param>
/// <param name="ToDevice">Null: the whole device. Otherwise only the link from <paramref name="Device"/> to this device, both directions: replicas that need it stop.</param>
public sealed record SimulatedFailure(string Device, double DownSeconds, double UpSeconds, string? ToDevice = null);

/// <summary>What a re-planner is told.</summary>
/// <param name="NowSeconds">The time.</param>
/// <param name="MeanPromptTokens">Mean prompt of the recent requests.</param>
/// <param name="MeanOutputTokens">Mean output of the recent requests.</param>
/// <param name="RequestsPerSecond">Rate of the recent requests.</param>
/// <param name="FailedDevices">Devices that are gone.</param>
/// <param name="Plan">The plan in force.</param>
public sealed record ReplanContext(
    double NowSeconds, double MeanPromptTokens, double MeanOutputTokens, double RequestsPerSecond, IReadOnlyList<string> FailedDevices, DeploymentPlan Plan);

/// <summary>
/// Re-planning on drift and on failure. Requests in replicas that the new plan keeps (same stages) go on; the others are computed anew elsewhere.
/// A new replica serves after its devices have loaded their new weights. Immutable.
/// </summary>
public sealed record ReplanOptions
{
    /// <summary>Makes the new plan; null keeps the old one.</summary>
    public required Func<ReplanContext, DeploymentPlan?> Planner { get; init; }

    /// <summary>The mean output-to-prompt ratio that the first plan was made for; 0: drift is not watched.</summary>
    public double PlannedOutputRatio { get; init; }

    /// <summary>Drift: the recent ratio differs from the planned one by more than this factor. Default 1.5.</summary>
    public double DriftFactor { get; init; } = 1.5;

    /// <summary>Recent requests that the means are taken over. Default 64.</summary>
    public int WindowRequests { get; init; } = 64;

    /// <summary>Shortest time between two plans, seconds. Default 60.</summary>
    public double MinimumIntervalSeconds { get; init; } = 60;

    /// <summary>Bytes per second at which a device loads weights that it did not have. Default 1e9 (a local disk).</summary>
    public double LoadBytesPerSecond { get; init; } = 1e9;
}
