namespace E2LLM.Planning.Clustering;

/// <summary>
/// Exhaustive search over partitions and pure roles, cut by Lagrangian bounds and dominance: a label is (devices left, prefill so far, decode so far); it is dropped
/// when no completion can beat the best plan under any of the weights, or when another label with the same devices left is no worse in both.
/// Now and then a label is completed at once as one of the weights likes it: good plans found early cut more. What survives at the end is optimal; the search says whether it ended.
/// </summary>
internal sealed class LabelSearch
{
    private readonly ClassStates _states;
    private readonly PatternTable _table;
    private readonly WeightedPartition[] _bounds;
    private readonly List<Label> _labels = [];
    private readonly int _wanted;
    private const int Completions = 4096;

    // wanted: replicas of each phase; 1 or fewer: any plan that serves both.
    public LabelSearch(ClassStates states, PatternTable table, WeightedPartition[] bounds, int wanted)
    {
        _wanted = wanted <= 1 ? 0 : wanted;
        _states = states;
        _table = table;
        _bounds = bounds;
    }

    private readonly record struct Label(double Prefill, double Decode, int Parent, int Next, Pattern? Added, int PrefillCount, int DecodeCount);

    /// <summary>Number of labels that were kept: the size of the proof.</summary>
    public int LabelCount => _labels.Count;

    /// <summary>
    /// Searches all partitions of <paramref name="start"/>. <paramref name="judge"/> gives the value of (prefill, decode); <paramref name="extra"/> what it can add to the
    /// weighted sum beyond the label's own, by bound. <paramref name="served"/> replicas outside the search serve both phases. Returns the best value above <paramref name="best"/> with its groups, or <paramref name="best"/> and null.
    /// </summary>
    public (double Value, List<Pattern>? Groups, bool Complete) Run(
        int start, double best, Func<double, double, double> judge, double[] extra, int maxLabels, CancellationToken cancellation, int served = 0)
    {
        _labels.Clear();
        var heads = new int[start + 1];
        Array.Fill(heads, -1);
        int bestLabel = -1, tried = 0;
        List<Pattern> tail = [];
        bool complete = true;
        _labels.Add(new Label(0, 0, -1, -1, null, Math.Min(served, _wanted), Math.Min(served, _wanted)));
        heads[start] = 0;
        double value = judge(0, 0);
        if (value > best && Enough(0))
        {
            (best, bestLabel) = (value, 0);
        }

        for (int index = start; index > 0 && complete; index--)
        {
            if ((index & 1023) == 0)
            {
                cancellation.ThrowIfCancellationRequested();
            }

            for (int current = heads[index]; current >= 0; current = _labels[current].Next)
            {
                Label label = _labels[current];
                if (!CanBeat(label.Prefill, label.Decode, index, best, extra))
                {
                    continue;
                }

                if (tried < Completions && (current & (tried < Completions / 2 ? 3 : 31)) == 0)
                {
                    tried++;
                    for (int i = 0; i < _bounds.Length; i++)
                    {
                        List<Pattern> rest = _bounds[i].Groups(index);
                        (double p, double d) = Sum(label, rest);
                        if (Enough(current, rest) && (value = judge(p, d)) > best)
                        {
                            (best, bestLabel, tail) = (value, current, rest);
                        }
                    }
                }

                int lowest = _states.Lowest(index);
                Add(heads, index - _states.Stride(lowest), label.Prefill, label.Decode, current, null, best, extra);
                foreach (Pattern pattern in _table.ByLowest[lowest])
                {
                    if (!_states.Contains(_states.Packed[index], pattern.Packed))
                    {
                        continue;
                    }

                    double prefill = label.Prefill + (pattern.IsPrefill ? pattern.Choice.Rate : 0);
                    double decode = label.Decode + (pattern.IsPrefill ? 0 : pattern.Choice.Rate);
                    int added = Add(heads, index - pattern.State, prefill, decode, current, pattern, best, extra);
                    if (added >= 0 && Enough(added) && (value = judge(prefill, decode)) > best)
                    {
                        (best, bestLabel, tail) = (value, added, []);
                    }
                }

                if (_labels.Count > maxLabels)
                {
                    complete = false;
                    break;
                }
            }
        }

        return (best, bestLabel < 0 ? null : [.. Groups(bestLabel), .. tail], complete);
    }

    private bool Enough(int label) => _labels[label].PrefillCount >= _wanted && _labels[label].DecodeCount >= _wanted;

    private bool Enough(int label, List<Pattern> rest) => _wanted == 0
        || (_labels[label].PrefillCount + rest.Count(item => item.IsPrefill) >= _wanted && _labels[label].DecodeCount + rest.Count(item => !item.IsPrefill) >= _wanted);

    private static (double Prefill, double Decode) Sum(Label label, List<Pattern> rest)
    {
        (double prefill, double decode) = (label.Prefill, label.Decode);
        foreach (Pattern pattern in rest)
        {
            prefill += pattern.IsPrefill ? pattern.Choice.Rate : 0;
            decode += pattern.IsPrefill ? 0 : pattern.Choice.Rate;
        }

        return (prefill, decode);
    }

    private bool CanBeat(double prefill, double decode, int left, double best, double[] extra)
    {
        for (int i = 0; i < _bounds.Length; i++)
        {
            WeightedPartition bound = _bounds[i];
            if ((bound.Weight * prefill) + ((1 - bound.Weight) * decode) + bound.Value[left] + extra[i] <= best * (1 + 1e-11))
            {
                return false;
            }
        }

        return true;
    }

    private int Add(int[] heads, int left, double prefill, double decode, int parent, Pattern? added, double best, double[] extra)
    {
        if (added is not null && left == 0)
        {
            // Nothing is left to add: keep it only for its value.
        }
        else if (!CanBeat(prefill, decode, left, best, extra))
        {
            return -1;
        }

        int prefillCount = Math.Min(_wanted, _labels[parent].PrefillCount + (added is { IsPrefill: true } ? 1 : 0));
        int decodeCount = Math.Min(_wanted, _labels[parent].DecodeCount + (added is { IsPrefill: false } ? 1 : 0));
        for (int other = heads[left]; other >= 0; other = _labels[other].Next)
        {
            Label there = _labels[other];
            if (there.Prefill >= prefill && there.Decode >= decode && there.PrefillCount >= prefillCount && there.DecodeCount >= decodeCount)
            {
                return -1;
            }
        }

        _labels.Add(new Label(prefill, decode, parent, heads[left], added, prefillCount, decodeCount));
        heads[left] = _labels.Count - 1;
        return heads[left];
    }

    private List<Pattern> Groups(int label)
    {
        var groups = new List<Pattern>();
        for (; label >= 0; label = _labels[label].Parent)
        {
            if (_labels[label].Added is { } pattern)
            {
                groups.Add(pattern);
            }
        }

        return groups;
    }
}
