namespace E2LLM.Transfer;

/// <summary>
/// Remembers which positions of which layer have arrived, keys and values apart. Slices may come in any order but not twice. Memory grows with
/// slices received, never with what a header claims. Not thread-safe.
/// </summary>
internal sealed class KvSliceCoverage(LayerRange layers, int firstPosition, int positionCount)
{
    /// <summary>Per layer and part, disjoint intervals (start to end) in order; neighbours are merged.</summary>
    private readonly SortedList<int, int>?[] _intervals = new SortedList<int, int>?[2 * layers.Count];
    private long _missing = 2L * layers.Count * positionCount;

    /// <summary>Whether every position of every layer has arrived.</summary>
    public bool IsComplete => _missing == 0;

    /// <summary>Takes a slice.</summary>
    /// <returns>False where some of it came before.</returns>
    public bool TryAdd(int layer, KvPart part, int first, int count)
    {
        int index = (2 * (layer - layers.Start)) + (part == KvPart.Keys ? 0 : 1);
        SortedList<int, int> intervals = _intervals[index] ??= [];
        int end = first + count;
        int next = FirstStartAtOrAfter(intervals, first);
        if ((next < intervals.Count && intervals.Keys[next] < end) || (next > 0 && intervals.Values[next - 1] > first))
        {
            return false;
        }

        if (next < intervals.Count && intervals.Keys[next] == end)
        {
            end = intervals.Values[next];
            intervals.RemoveAt(next);
        }

        if (next > 0 && intervals.Values[next - 1] == first)
        {
            intervals.SetValueAtIndex(next - 1, end);
        }
        else
        {
            intervals.Add(first, end);
        }

        _missing -= count;
        return true;
    }

    /// <summary>Names the first gap, for messages.</summary>
    public string DescribeGap()
    {
        for (int i = 0; i < _intervals.Length; i++)
        {
            SortedList<int, int>? intervals = _intervals[i];
            int reached = intervals is { Count: > 0 } && intervals.Keys[0] == firstPosition ? intervals.Values[0] : firstPosition;
            if (reached < firstPosition + positionCount)
            {
                return $"{(i % 2 == 0 ? "keys" : "values")} of layer {layers.Start + (i / 2)} from position {reached} on";
            }
        }

        return "nothing";
    }

    private static int FirstStartAtOrAfter(SortedList<int, int> intervals, int position)
    {
        int low = 0, high = intervals.Count;
        while (low < high)
        {
            int middle = (low + high) / 2;
            if (intervals.Keys[middle] < position)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }
}
