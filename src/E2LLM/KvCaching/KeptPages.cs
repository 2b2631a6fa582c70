namespace E2LLM.KvCaching;

/// <summary>
/// Blocks of a pool whose content later sequences may want: found by the tokens they stand for, and given up, the longest unused first, when
/// somebody needs the memory. Knows which of them no sequence holds. Not thread-safe: guarded by its pool.
/// </summary>
/// <param name="blockCount">Blocks of the pool.</param>
internal sealed class KeptPages(int blockCount)
{
    private readonly Dictionary<Page, int> _blocks = [];
    private readonly Page?[] _pages = new Page?[blockCount];
    private readonly LinkedList<int> _idle = [];
    private readonly LinkedListNode<int>?[] _idleNodes = new LinkedListNode<int>?[blockCount];

    /// <summary>A page as one owner of content knows it; owners never see each other's.</summary>
    private readonly record struct Page(ulong Scope, PageKey Key);

    /// <summary>Kept blocks that no sequence holds.</summary>
    public int IdleCount => _idle.Count;

    /// <summary>Whether a block is kept, held by a sequence or not.</summary>
    public bool IsKept(int block) => _pages[block] is not null;

    /// <summary>Finds the block of a page.</summary>
    public bool TryFind(ulong scope, PageKey key, out int block) => _blocks.TryGetValue(new Page(scope, key), out block);

    /// <summary>Keeps a block under a key; does nothing where it is kept already or another block stands for the same page.</summary>
    public void Keep(ulong scope, PageKey key, int block)
    {
        var page = new Page(scope, key);
        if (_pages[block] is null && _blocks.TryAdd(page, block))
        {
            _pages[block] = page;
        }
    }

    /// <summary>Tells that the last sequence has let a kept block go: it is the last to be given up now.</summary>
    public void BecameIdle(int block) => _idleNodes[block] = _idle.AddLast(block);

    /// <summary>Tells that a sequence holds a kept block again.</summary>
    public void BecameHeld(int block)
    {
        if (_idleNodes[block] is { } node)
        {
            _idle.Remove(node);
            _idleNodes[block] = null;
        }
    }

    /// <summary>Gives up the idle block that was unused for longest. There must be one.</summary>
    public int EvictOldest()
    {
        int block = _idle.First!.Value;
        Forget(block);
        return block;
    }

    /// <summary>Keeps a block no longer.</summary>
    public void Forget(int block)
    {
        if (_pages[block] is { } page)
        {
            _blocks.Remove(page);
            _pages[block] = null;
            BecameHeld(block);
        }
    }

    /// <summary>Blocks kept for one owner.</summary>
    public int[] Of(ulong scope) => [.. _blocks.Where(entry => entry.Key.Scope == scope).Select(entry => entry.Value)];
}
