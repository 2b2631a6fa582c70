using E2LLM.Planning.Clustering;

namespace E2LLM.Simulation.Report;

/// <summary>One group of devices in one role: what a plan is put together from. Immutable.</summary>
/// <param name="Pick">Device counts, role, slots and split.</param>
/// <param name="PrefillRate">Requests per second of prefill alone; 0 for a decode group.</param>
/// <param name="DecodeRate">Requests per second of decode alone; 0 for a prefill group.</param>
/// <param name="OwnPrefillRate">Requests per second that these devices would prefill in their best split, whatever their role here (Splitwise's rule compares it).</param>
/// <param name="PrefillSeconds">Seconds of the mean prompt alone.</param>
/// <param name="StepSeconds">Seconds of a decode step of one sequence alone.</param>
internal sealed record GroupOption(GroupPick Pick, double PrefillRate, double DecodeRate, double OwnPrefillRate, double PrefillSeconds, double StepSeconds);

/// <summary>One plan of the space with its static figures. Immutable.</summary>
/// <param name="Groups">Its groups.</param>
/// <param name="Capacity">Requests per second that both phases sustain, mixed groups dividing their time best.</param>
/// <param name="ServiceSeconds">Seconds of a mean request alone, on its fastest groups.</param>
internal sealed record Candidate(IReadOnlyList<GroupOption> Groups, double Capacity, double ServiceSeconds);

/// <summary>What a system may choose from.</summary>
internal sealed record PlanRule
{
    /// <summary>Whether groups may serve both phases; and whether they all must.</summary>
    public bool Mixed { get; init; } = true;

    public bool OnlyMixed { get; init; }

    /// <summary>Most groups, and most devices in a group.</summary>
    public int MaxGroups { get; init; } = int.MaxValue;

    public int MaxStages { get; init; } = int.MaxValue;

    /// <summary>Whether every device must be used, as in E2LLM's chromosome.</summary>
    public bool UseAllDevices { get; init; }

    /// <summary>Splitwise's rule: every prefill group is at least as fast (in prefill) as every decode group.</summary>
    public bool FastestPrefill { get; init; }
}
