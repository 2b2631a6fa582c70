namespace E2LLM.Planning.Clustering;

/// <summary>How a time-shared replica divides its time. Stateless.</summary>
internal static class MixedRoles
{
    /// <summary>
    /// The share x of a replica's time for prefill that makes <c>min(prefill + x P / s, decode + (1 - x) D / s)</c> largest, s being the slowdown of mixed passes:
    /// both sides are equal at <c>x = (decode - prefill + D / s) s / (P + D)</c>, clamped to [0, 1].
    /// </summary>
    public static (double Value, double Share) Share(double prefill, double decode, double prefillRate, double decodeRate, double slowdown)
    {
        double p = prefillRate / slowdown, d = decodeRate / slowdown;
        double share = Math.Clamp((decode - prefill + d) / (p + d), 0, 1);
        return (Math.Min(prefill + (share * p), decode + ((1 - share) * d)), share);
    }

    /// <summary>The best of several splits.</summary>
    public static (double Value, MixedChoice Choice, double Share) Best(List<MixedChoice> choices, double prefill, double decode, double slowdown)
    {
        (double Value, MixedChoice Choice, double Share) best = (double.NegativeInfinity, default, 0);
        foreach (MixedChoice choice in choices)
        {
            (double value, double share) = Share(prefill, decode, choice.PrefillRate, choice.DecodeRate, slowdown);
            if (value > best.Value)
            {
                best = (value, choice, share);
            }
        }

        return best;
    }
}
