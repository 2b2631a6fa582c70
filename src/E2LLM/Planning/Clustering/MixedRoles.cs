namespace E2LLM.Planning.Clustering;

/// <summary>How a time-shared replica divides its time. Stateless.</summary>
internal static class MixedRoles
{
    /// <summary>
    /// The share x of a replica's time for prefill that makes <c>min(prefill + x P / s, decode + (1 - x) D / s)</c> largest, s being the slowdown of mixed passes:
    /// both sides are equal at <c>x = (decode - prefill + D / s) s / (P + D)</c>, clamped to [0, 1], and to where what one phase does beyond the other passes the ports:
    /// at most <paramref name="passes"/> KV caches per second either way.
    /// </summary>
    public static (double Value, double Share) Share(double prefill, double decode, double prefillRate, double decodeRate, double slowdown, double passes)
    {
        double p = prefillRate / slowdown, d = decodeRate / slowdown;
        double share = Math.Clamp((decode - prefill + d) / (p + d), 0, 1);
        if (passes < Math.Max(p, d))
        {
            share = Math.Clamp(share, Math.Max(0, (d - passes) / (p + d)), Math.Min(1, (d + passes) / (p + d)));
        }

        return (Math.Min(prefill + (share * p), decode + ((1 - share) * d)), share);
    }

    /// <summary>
    /// The largest <c>weight p + (1 - weight) d</c> of a mixed replica, p and d being what it prefills and decodes per second. None with lower rates and slower ports has more.
    /// </summary>
    public static double Weighted(double weight, double prefillRate, double decodeRate, double slowdown, double passes)
    {
        double p = prefillRate / slowdown, d = decodeRate / slowdown, low = 0, high = 1;
        if (!(p > 0) || !(d > 0))
        {
            return 0;
        }

        if (passes < Math.Max(p, d))
        {
            (low, high) = (Math.Max(0, (d - passes) / (p + d)), Math.Min(1, (d + passes) / (p + d)));
        }

        return Math.Max((weight * low * p) + ((1 - weight) * (1 - low) * d), (weight * high * p) + ((1 - weight) * (1 - high) * d));
    }

    /// <summary>The best of several splits.</summary>
    public static (double Value, MixedChoice Choice, double Share) Best(List<MixedChoice> choices, double prefill, double decode, double slowdown)
    {
        (double Value, MixedChoice Choice, double Share) best = (double.NegativeInfinity, default, 0);
        foreach (MixedChoice choice in choices)
        {
            (double value, double share) = Share(prefill, decode, choice.PrefillRate, choice.DecodeRate, slowdown, choice.Passes);
            if (value > best.Value)
            {
                best = (value, choice, share);
            }
        }

        return best;
    }
}
