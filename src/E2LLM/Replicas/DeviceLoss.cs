using E2LLM.Deployment;

namespace E2LLM.Replicas;

/// <summary>What a new plan must do without. Immutable.</summary>
public sealed record DeviceLoss
{
    /// <summary>Devices lost and in no plan taken up since, in order of their names.</summary>
    public required IReadOnlyList<string> Devices { get; init; }

    /// <summary>Replicas that are whole. A new plan that has them again, stage for stage, leaves them at work.</summary>
    public required IReadOnlyList<ReplicaPlan> Running { get; init; }

    /// <summary>Plans asked for before this one that could not be taken up, since the last that was.</summary>
    public required int FailedPlanCount { get; init; }

    /// <summary>The loss, or why the last plan could not be taken up.</summary>
    public required Exception Cause { get; init; }
}
