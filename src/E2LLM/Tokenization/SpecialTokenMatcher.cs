using System.Buffers;

namespace E2LLM.Tokenization;

/// <summary>
/// Cuts text at the special tokens written in it. Longer tokens are taken before shorter ones, whatever their place, and
/// equally long ones by id: the order in which llama.cpp partitions a text. Immutable; thread-safe.
/// </summary>
internal sealed class SpecialTokenMatcher
{
    private readonly Dictionary<ulong, int> _edges = [];
    private readonly List<int> _idAtNode = [-1];
    private readonly SearchValues<char> _firstCharacters;
    private readonly int _count;

    public SpecialTokenMatcher(IEnumerable<(int Id, string Text)> tokens)
    {
        var first = new HashSet<char>();
        foreach ((int id, string text) in tokens)
        {
            if (text.Length == 0)
            {
                continue;
            }

            int node = 0;
            foreach (char character in text)
            {
                ulong edge = Edge(node, character);
                if (!_edges.TryGetValue(edge, out int next))
                {
                    next = _idAtNode.Count;
                    _idAtNode.Add(-1);
                    _edges.Add(edge, next);
                }

                node = next;
            }

            _idAtNode[node] = id;
            first.Add(text[0]);
            _count++;
        }

        _firstCharacters = SearchValues.Create([.. first]);
    }

    /// <summary>Fragments of <paramref name="text"/> in order: Id -1 for plain text, else the special token that it spells.</summary>
    public List<(int Start, int Length, int Id)> Partition(ReadOnlySpan<char> text)
    {
        var fragments = new List<(int Start, int Length, int Id)>();
        int end = 0;
        foreach ((int start, int length, int id) in Select(FindAll(text), text.Length))
        {
            if (start > end)
            {
                fragments.Add((end, start - end, -1));
            }

            fragments.Add((start, length, id));
            end = start + length;
        }

        if (end < text.Length)
        {
            fragments.Add((end, text.Length - end, -1));
        }

        return fragments;
    }

    /// <summary>Every occurrence of every token, overlapping ones too.</summary>
    private List<(int Start, int Length, int Id)> FindAll(ReadOnlySpan<char> text)
    {
        var found = new List<(int Start, int Length, int Id)>();
        int start = _count == 0 ? -1 : text.IndexOfAny(_firstCharacters);
        while (start >= 0)
        {
            int node = 0;
            for (int at = start; at < text.Length && _edges.TryGetValue(Edge(node, text[at]), out node); at++)
            {
                if (_idAtNode[node] >= 0)
                {
                    found.Add((start, at + 1 - start, _idAtNode[node]));
                }
            }

            int skip = text[(start + 1)..].IndexOfAny(_firstCharacters);
            start = skip < 0 ? -1 : start + 1 + skip;
        }

        return found;
    }

    private static List<(int Start, int Length, int Id)> Select(List<(int Start, int Length, int Id)> found, int textLength)
    {
        if (found.Count < 2)
        {
            return found;
        }

        found.Sort((a, b) => a.Length != b.Length ? b.Length.CompareTo(a.Length) : a.Id != b.Id ? a.Id.CompareTo(b.Id) : a.Start.CompareTo(b.Start));
        var taken = new System.Collections.BitArray(textLength);
        var kept = new List<(int Start, int Length, int Id)>();
        foreach ((int start, int length, int id) in found)
        {
            // All kept ones are at least as long, so one that overlaps covers an end of this one.
            if (!taken[start] && !taken[start + length - 1])
            {
                for (int i = start; i < start + length; i++)
                {
                    taken[i] = true;
                }

                kept.Add((start, length, id));
            }
        }

        kept.Sort((a, b) => a.Start.CompareTo(b.Start));
        return kept;
    }

    private static ulong Edge(int node, char character) => ((ulong)(uint)node << 16) | character;
}
