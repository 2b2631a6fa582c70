namespace E2LLM.Planning.Clustering;

/// <summary>
/// The best partition for one weight: <c>V(U) = max over partitions of U of (weight * prefill + (1 - weight) * decode)</c>, for every multiset U, by
/// dynamic programming over the group that holds the lowest class. Since <c>min(p, d) &lt;= weight p + (1 - weight) d</c> for weights from 0 to 1,
/// <c>V(all)</c> bounds the capacity of every plan, mixed roles included (a time-shared replica lies between its two pure ones). Lagrangian duality.
/// </summary>
internal sealed class WeightedPartition
{
    private readonly ClassStates _states;
    private readonly Pattern[][] _patterns;
    private readonly int[] _choices;

    /// <summary>Solves all multisets; <paramref name="special"/> (multiset, value so far) may say that a multiset is worth more in a way that has no pattern: then it counts as one, for <see cref="Value"/> only.</summary>
    public WeightedPartition(ClassStates states, PatternTable table, double weight, CancellationToken cancellation, Func<int, double, double>? special = null)
    {
        _states = states;
        _patterns = table.ByLowest;
        Weight = weight;
        Value = new double[states.Count];
        _choices = new int[states.Count];
        var packed = new ulong[_patterns.Length][];
        var offsets = new int[_patterns.Length][];
        var worth = new double[_patterns.Length][];
        for (int k = 0; k < _patterns.Length; k++)
        {
            packed[k] = Array.ConvertAll(_patterns[k], pattern => pattern.Packed);
            offsets[k] = Array.ConvertAll(_patterns[k], pattern => pattern.State);
            worth[k] = Array.ConvertAll(_patterns[k], Worth);
        }

        ulong guards = states.Guards;
        for (int index = 1; index < states.Count; index++)
        {
            if ((index & 4095) == 0)
            {
                cancellation.ThrowIfCancellationRequested();
            }

            int lowest = states.Lowest(index), choice = -1;
            ulong whole = states.Packed[index] | guards;
            double best = Value[index - states.Stride(lowest)];
            ulong[] parts = packed[lowest];
            for (int i = 0; i < parts.Length; i++)
            {
                if (((whole - parts[i]) & guards) == guards)
                {
                    double value = worth[lowest][i] + Value[index - offsets[lowest][i]];
                    if (value > best)
                    {
                        best = value;
                        choice = i;
                    }
                }
            }

            if (special is not null && special(index, best) is var worthMore && worthMore > best)
            {
                best = worthMore;
                packed[lowest] = [.. packed[lowest], states.Packed[index]];
                offsets[lowest] = [.. offsets[lowest], index];
                worth[lowest] = [.. worth[lowest], best];
            }

            Value[index] = best;
            _choices[index] = choice;
        }
    }

    public double Weight { get; }

    /// <summary>V for every multiset.</summary>
    public double[] Value { get; }

    /// <summary>What a pattern adds.</summary>
    public double Worth(Pattern pattern) => (pattern.IsPrefill ? Weight : 1 - Weight) * pattern.Choice.Rate;

    /// <summary>The groups of the best partition of <paramref name="index"/>.</summary>
    public List<Pattern> Groups(int index)
    {
        var groups = new List<Pattern>();
        while (index > 0)
        {
            int lowest = _states.Lowest(index), choice = _choices[index];
            if (choice < 0)
            {
                index -= _states.Stride(lowest);
            }
            else
            {
                groups.Add(_patterns[lowest][choice]);
                index -= _patterns[lowest][choice].State;
            }
        }

        return groups;
    }

    /// <summary>The weight at which the highest of the lines <c>weight p + (1 - weight) d</c> is lowest, and that height: where the next partition tells most.</summary>
    public static (double Weight, double Value) LowestOfLines(List<(double Prefill, double Decode)> lines)
    {
        double bestWeight = 0.5, best = double.PositiveInfinity;
        void Try(double weight)
        {
            double value = 0;
            foreach ((double prefill, double decode) in lines)
            {
                value = Math.Max(value, (weight * prefill) + ((1 - weight) * decode));
            }

            if (value < best)
            {
                (bestWeight, best) = (weight, value);
            }
        }

        for (int i = 0; i < lines.Count; i++)
        {
            for (int j = 0; j < i; j++)
            {
                double slope = lines[i].Prefill - lines[i].Decode - lines[j].Prefill + lines[j].Decode;
                double weight = slope == 0 ? 0.5 : (lines[j].Decode - lines[i].Decode) / slope;
                Try(Math.Clamp(double.IsFinite(weight) ? weight : 0.5, 0, 1));
            }
        }

        return (bestWeight, best);
    }
}
