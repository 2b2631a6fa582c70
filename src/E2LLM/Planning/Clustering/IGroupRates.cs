namespace E2LLM.Planning.Clustering;

/// <summary>
/// How well a group of devices serves each role. Two ways: order-free where links are alike (<see cref="GroupRates"/>), over all orders where they differ
/// (<see cref="LinkAwareRates"/>). Rates may be optimistic until <see cref="Confirm"/> says otherwise. Not thread-safe.
/// </summary>
internal interface IGroupRates
{
    /// <summary>Best prefill rate above <paramref name="atLeast"/>, or a rate of 0.</summary>
    RoleChoice Prefill(int state, ReadOnlySpan<int> counts, double atLeast);

    /// <summary>Best decode rate above <paramref name="atLeast"/> over all concurrencies, or a rate of 0.</summary>
    RoleChoice Decode(int state, ReadOnlySpan<int> counts, double atLeast);

    /// <summary>Whether <see cref="Mixed"/> leaves out no split that could be best.</summary>
    bool MixedIsExact { get; }

    /// <summary>Bounds of groups whose prompts stay where they are.</summary>
    PortFreeRates PortFree { get; }

    /// <summary>
    /// Adds to <paramref name="choices"/> the splits that serve both phases under the memory of both, none beaten by another in everything, but those for which <paramref name="worth"/> says that they cannot matter. <paramref name="all"/> false: splits that are
    /// only better through slow ports may be missing.
    /// </summary>
    void Mixed(int state, ReadOnlySpan<int> counts, bool all, Func<MixedLimits, bool> worth, List<MixedChoice> choices);

    /// <summary>What no mixed replica of the group exceeds; <paramref name="tight"/>: by splitting it, which takes longer.</summary>
    MixedLimits LimitsOfMixed(int state, ReadOnlySpan<int> counts, bool tight);

    /// <summary>Whether the rate of the pick is real; if not, the group's rate is corrected for the next question.</summary>
    bool Confirm(GroupPick pick);

    /// <summary>Decode slots (0 for prefill), and class and layers of each stage in order.</summary>
    (int Slots, List<(int Class, int Layers)> Stages) Stages(GroupPick pick);
}

/// <summary>Rates of each phase alone, and KV caches per second through the ports, that a mixed replica does not exceed. Immutable.</summary>
internal readonly record struct MixedLimits(double Prefill, double Decode, double Passes);
