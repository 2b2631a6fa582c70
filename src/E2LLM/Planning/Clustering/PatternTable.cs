namespace E2LLM.Planning.Clustering;

/// <summary>A group that is worth being one replica: no partition of it (some devices idle perhaps) serves the role better.</summary>
/// <param name="State">Index of the group.</param>
/// <param name="Packed">Its packed form.</param>
/// <param name="IsPrefill">The role.</param>
/// <param name="Choice">How it serves.</param>
internal sealed record Pattern(int State, ulong Packed, bool IsPrefill, RoleChoice Choice);

/// <summary>
/// All irreducible groups of a cluster with their rates. Rates of replicas of one role add up, so a group that some partition of itself beats never needs to be
/// one replica: leaving it out loses nothing, and few groups are left. Built in ascending order of states, each judged by its own parts.
/// </summary>
internal sealed class PatternTable
{
    private readonly ClassStates _states;

    private PatternTable(ClassStates states)
    {
        _states = states;
        Prefill = new double[states.Count];
        Decode = new double[states.Count];
        ByLowest = new Pattern[states.ClassCount][];
    }

    /// <summary>Largest total prefill rate of each multiset, partitioned as it likes.</summary>
    public double[] Prefill { get; }

    /// <summary>The same for decode.</summary>
    public double[] Decode { get; }

    /// <summary>Patterns of both roles by the lowest class they contain.</summary>
    public Pattern[][] ByLowest { get; }

    public static PatternTable Build(ClassStates states, IGroupRates rates, int maxSize, Action<double>? progress, CancellationToken cancellation)
    {
        var table = new PatternTable(states);
        var found = new List<Pattern>[2, states.ClassCount];
        for (int k = 0; k < states.ClassCount; k++)
        {
            (found[0, k], found[1, k]) = ([], []);
        }

        Span<int> counts = stackalloc int[states.ClassCount];
        for (int index = 1; index < states.Count; index++)
        {
            if ((index & 255) == 0)
            {
                cancellation.ThrowIfCancellationRequested();
                progress?.Invoke((double)index / states.Count);
            }

            states.Counts(index, counts);
            int lowest = states.Lowest(index), size = 0;
            for (int k = 0; k < counts.Length; k++)
            {
                size += counts[k];
            }

            double prefill = Best(states, table.Prefill, found[0, lowest], index, lowest);
            double decode = Best(states, table.Decode, found[1, lowest], index, lowest);
            if (size <= maxSize)
            {
                RoleChoice choice = rates.Prefill(index, counts, prefill);
                if (choice.Rate > prefill)
                {
                    found[0, lowest].Add(new Pattern(index, states.Packed[index], true, choice));
                    prefill = choice.Rate;
                }

                choice = rates.Decode(index, counts, decode);
                if (choice.Rate > decode)
                {
                    found[1, lowest].Add(new Pattern(index, states.Packed[index], false, choice));
                    decode = choice.Rate;
                }
            }

            table.Prefill[index] = prefill;
            table.Decode[index] = decode;
        }

        for (int k = 0; k < states.ClassCount; k++)
        {
            table.ByLowest[k] = [.. found[0, k], .. found[1, k]];
        }

        return table;
    }

    private static double Best(ClassStates states, double[] totals, List<Pattern> patterns, int index, int lowest)
    {
        // One device of the lowest class idle, or in one of the groups that contain that class.
        double best = totals[index - states.Stride(lowest)];
        ulong packed = states.Packed[index];
        foreach (Pattern pattern in patterns)
        {
            if (states.Contains(packed, pattern.Packed))
            {
                best = Math.Max(best, pattern.Choice.Rate + totals[index - pattern.State]);
            }
        }

        return best;
    }
}
