namespace E2LLM;

/// <summary>
/// A half-open, zero-based range of transformer layers <c>[Start, End)</c>. Immutable; safe to share between threads.
/// </summary>
public readonly record struct LayerRange
{
    /// <summary>Creates the range <c>[start, end)</c>.</summary>
    /// <param name="start">First layer, zero or more.</param>
    /// <param name="end">One past the last layer, at least <paramref name="start"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="start"/> is negative, or <paramref name="end"/> is below it.</exception>
    public LayerRange(int start, int end)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        ArgumentOutOfRangeException.ThrowIfLessThan(end, start);
        Start = start;
        End = end;
    }

    /// <summary>First layer of the range.</summary>
    public int Start { get; }

    /// <summary>One past the last layer of the range.</summary>
    public int End { get; }

    /// <summary>Number of layers, possibly zero.</summary>
    public int Count => End - Start;

    /// <summary>Whether <paramref name="layer"/> lies in the range.</summary>
    public bool Contains(int layer) => layer >= Start && layer < End;

    /// <summary>The layers that both ranges have; an empty range (at this range's start) where there are none.</summary>
    public LayerRange Intersect(LayerRange other)
    {
        int start = Math.Max(Start, other.Start), end = Math.Min(End, other.End);
        return start < end ? new LayerRange(start, end) : new LayerRange(Start, Start);
    }

    /// <summary>Written as <c>[0, 20)</c>.</summary>
    public override string ToString() => $"[{Start}, {End})";
}
