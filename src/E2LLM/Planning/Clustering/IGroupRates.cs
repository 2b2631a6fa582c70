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

    /// <summary>Splits that serve both phases under the memory of both, and the best rate of each phase alone.</summary>
    List<MixedChoice> Mixed(int state, ReadOnlySpan<int> counts, out double bestPrefill, out double bestDecode);

    /// <summary>Whether the rate of the pick is real; if not, the group's rate is corrected for the next question.</summary>
    bool Confirm(GroupPick pick);

    /// <summary>Decode slots (0 for prefill), and class and layers of each stage in order.</summary>
    (int Slots, List<(int Class, int Layers)> Stages) Stages(GroupPick pick);
}
