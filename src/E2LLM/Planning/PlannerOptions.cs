namespace E2LLM.Planning;

/// <summary>Which search makes the plan.</summary>
public enum PlannerKind
{
    /// <summary><see cref="Exact"/> where the cluster is small enough, else <see cref="Anytime"/>.</summary>
    Auto,

    /// <summary>Exhaustive search over partitions of device classes, with a bound; falls back to <see cref="Anytime"/> where there are too many.</summary>
    Exact,

    /// <summary>Large-neighbourhood search around the exact solution of small sub-clusters, with a bound.</summary>
    Anytime,

    /// <summary>The planner of E2LLM (arXiv 2606.03770): genetic search over orders and sizes, dynamic programming inside, brute force over roles.</summary>
    E2llm,
}

/// <summary>Settings of a planning run. Immutable; the defaults work.</summary>
public sealed record PlannerOptions
{
    /// <summary>Which search. Default <see cref="PlannerKind.Auto"/>.</summary>
    public PlannerKind Planner { get; init; } = PlannerKind.Auto;

    /// <summary>What is optimised; null: <see cref="PlanObjectives.Capacity"/>.</summary>
    public IPlanObjective? Objective { get; init; }

    /// <summary>Seed of every random choice; the same seed gives the same plan. Default 1.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Whether replicas may serve both phases by turns. Default true.</summary>
    public bool AllowMixed { get; init; } = true;

    /// <summary>
    /// How much longer the passes of a mixed replica take than those of a pure one. Default 1.1, what splitwise-sim charges for mixed iterations.
    /// </summary>
    public double MixedSlowdown { get; init; } = 1.1;

    /// <summary>
    /// Least number of replicas that serve each phase (a mixed one serves both): 2 lets both phases go on when any one device is lost. Default 1. Exact search only finds such plans on purpose;
    /// where a plan has fewer the result is infeasible with the constraint <c>roles</c>.
    /// </summary>
    public int MinimumReplicasPerPhase { get; init; } = 1;

    /// <summary>Whether weights may lie in host memory, at its speed. Default false.</summary>
    public bool UseHostMemory { get; init; }

    /// <summary>Most sequences that a decode replica holds at once. Default 64.</summary>
    public int MaxDecodeSlots { get; init; } = 64;

    /// <summary>Prompt tokens per prefill pass. Default 512.</summary>
    public int PrefillChunkTokens { get; init; } = 512;

    /// <summary>Most stages of a replica. Default 64; never more than the model has layers.</summary>
    public int MaxStageCount { get; init; } = 64;

    /// <summary>Share of requests whose prompt plus output fits a decode slot's part of the cache (paged, so longer ones still fit while others are shorter). Default 0.99.</summary>
    public double SlotContextQuantile { get; init; } = 0.99;

    /// <summary>
    /// Relative error of every device speed that a plan must be good for; 0 plans for the stated speeds. The plan of the best worst case over
    /// a fixed, seeded set of draws is taken.
    /// </summary>
    public double SpeedErrorFraction { get; init; }

    /// <summary>
    /// Whether the explanation says what more memory would be worth, which takes up to three searches more: false for a plan as soon as it can be had. The plan itself is the same. Default true.
    /// </summary>
    public bool ExplainMemory { get; init; } = true;

    /// <summary>Individuals of a generation of the <see cref="PlannerKind.E2llm"/> search (the paper does not say). Default 40.</summary>
    public int GeneticPopulation { get; init; } = 40;

    /// <summary>Generations of the <see cref="PlannerKind.E2llm"/> search (the paper does not say). Default 40.</summary>
    public int GeneticGenerations { get; init; } = 40;

    /// <summary>Wall-clock limit of the search, after which the best plan so far is given; null: a fixed amount of work, so that the same seed gives the same plan.</summary>
    public TimeSpan? TimeBudget { get; init; }

    /// <summary>Clock of <see cref="TimeBudget"/>. Default the system's.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Checks the values.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A value is outside its range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxDecodeSlots, 1, nameof(MaxDecodeSlots));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(MaxDecodeSlots, 4096, nameof(MaxDecodeSlots));
        ArgumentOutOfRangeException.ThrowIfLessThan(PrefillChunkTokens, 1, nameof(PrefillChunkTokens));
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxStageCount, 1, nameof(MaxStageCount));
        ArgumentOutOfRangeException.ThrowIfLessThan(MinimumReplicasPerPhase, 1, nameof(MinimumReplicasPerPhase));
        ArgumentOutOfRangeException.ThrowIfLessThan(GeneticPopulation, 2, nameof(GeneticPopulation));
        ArgumentOutOfRangeException.ThrowIfLessThan(GeneticGenerations, 1, nameof(GeneticGenerations));
        ThrowUnless(MixedSlowdown is >= 1 and < 100, MixedSlowdown, nameof(MixedSlowdown));
        ThrowUnless(SlotContextQuantile is >= 0 and <= 1, SlotContextQuantile, nameof(SlotContextQuantile));
        ThrowUnless(SpeedErrorFraction is >= 0 and < 1, SpeedErrorFraction, nameof(SpeedErrorFraction));
        ArgumentNullException.ThrowIfNull(TimeProvider);
    }

    private static void ThrowUnless(bool valid, double value, string name)
    {
        if (!valid)
        {
            throw new ArgumentOutOfRangeException(name, value, "The value is outside its range.");
        }
    }
}
