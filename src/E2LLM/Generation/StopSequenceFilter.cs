namespace E2LLM.Generation;

/// <summary>
/// Passes a streaming text on until a stop sequence stands in it, and holds back what may be the beginning of one. Works on text, so that tokens may cut
/// stop sequences and characters anywhere: the text and the place of the stop do not depend on the pieces. One per text; not thread-safe.
/// </summary>
internal sealed class StopSequenceFilter
{
    private readonly IReadOnlyList<string> _stops;
    private string _held = string.Empty;

    /// <param name="stops">Compared ordinally; none empty.</param>
    public StopSequenceFilter(IReadOnlyList<string> stops) => _stops = stops;

    /// <summary>Whether a stop sequence came; nothing is passed on after it.</summary>
    public bool IsStopped { get; private set; }

    /// <summary>Takes the next piece.</summary>
    /// <returns>What is certain to be before any stop sequence, possibly empty.</returns>
    public string Append(string piece)
    {
        if (_stops.Count == 0 || IsStopped)
        {
            return IsStopped ? string.Empty : piece;
        }

        string text = _held + piece;
        (int start, int end) = (text.Length, int.MaxValue);
        foreach (string stop in _stops)
        {
            // The stop that is complete first ends the text; of those complete at once the longest.
            int at = text.IndexOf(stop, StringComparison.Ordinal);
            if (at >= 0 && (at + stop.Length < end || (at + stop.Length == end && at < start)))
            {
                (start, end) = (at, at + stop.Length);
            }
        }

        IsStopped = end != int.MaxValue;
        int passed = IsStopped ? start : text.Length - HeldLength(text);
        _held = IsStopped ? string.Empty : text[passed..];
        return text[..passed];
    }

    /// <summary>Ends the text: what was held back was no stop sequence.</summary>
    public string Flush()
    {
        string rest = _held;
        _held = string.Empty;
        return rest;
    }

    /// <summary>Length of the longest end of the text that a stop sequence begins with.</summary>
    private int HeldLength(string text)
    {
        int longest = 0;
        foreach (string stop in _stops)
        {
            for (int length = Math.Min(stop.Length - 1, text.Length); length > longest; length--)
            {
                if (text.AsSpan(text.Length - length).SequenceEqual(stop.AsSpan(0, length)))
                {
                    longest = length;
                }
            }
        }

        return longest;
    }
}
