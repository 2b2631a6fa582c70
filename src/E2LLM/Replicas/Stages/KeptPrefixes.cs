using E2LLM.KvCaching;

namespace E2LLM.Replicas.Stages;

/// <summary>
/// What a driver remembers of the pages that its stages keep, to send a next turn where its text is. Only a guess: stages give pages up when they need
/// the memory, and say what they hold when a sequence is opened. Thread-safe.
/// </summary>
/// <param name="capacity">Pages remembered at most; the longest unused are forgotten first.</param>
internal sealed class KeptPrefixes(int capacity)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<PageKey, LinkedListNode<PageKey>> _nodes = [];
    private readonly LinkedList<PageKey> _byUse = [];

    /// <summary>Remembers the pages of one text, its beginning longest.</summary>
    public void Add(IReadOnlyList<PageKey> pages)
    {
        lock (_gate)
        {
            for (int i = pages.Count - 1; i >= 0; i--)
            {
                if (_nodes.Remove(pages[i], out LinkedListNode<PageKey>? known))
                {
                    _byUse.Remove(known);
                }

                _nodes.Add(pages[i], _byUse.AddLast(pages[i]));
            }

            while (_nodes.Count > capacity)
            {
                _nodes.Remove(_byUse.First!.Value);
                _byUse.RemoveFirst();
            }
        }
    }

    /// <summary>How many tokens of a text the stages probably hold.</summary>
    /// <param name="pages">Keys of its whole pages.</param>
    public int MatchTokenCount(IReadOnlyList<PageKey> pages)
    {
        lock (_gate)
        {
            int count = 0;
            while (count < pages.Count && _nodes.ContainsKey(pages[count]))
            {
                count++;
            }

            return count * PageKey.TokenCount;
        }
    }
}
