using System.Buffers;

namespace E2LLM.Tokenization;

/// <summary>A run of bytes that merging treats as one. Next: index of the run after it, -1 for none; Length 0: merged away.</summary>
internal struct MergeSymbol
{
    public int Start;
    public int Length;
    public int Previous;
    public int Next;
    public int Id;
}

/// <summary>Says whether two neighbours may merge, how urgently, and into what.</summary>
internal interface IMergeRule
{
    /// <param name="left">The run on the left.</param>
    /// <param name="right">The run that starts where the left one ends.</param>
    /// <param name="rank">Lower merges first.</param>
    /// <param name="id">Id of the merged run.</param>
    bool TryMerge(in MergeSymbol left, in MergeSymbol right, out uint rank, out int id);
}

/// <summary>
/// Byte-pair merging: while any two neighbours may merge, merge the pair of lowest rank, the leftmost of equals. A heap holds
/// the candidates, so n symbols take O(n log n). One instance serves one call of Encode. Not thread-safe.
/// </summary>
internal struct SymbolMerger
{
    private Candidate[] _heap;
    private int _count;

    private SymbolMerger(int capacity)
    {
        _heap = ArrayPool<Candidate>.Shared.Rent(capacity);
        _count = 0;
    }

    /// <summary>Merges in place. Symbol 0 always survives; follow <see cref="MergeSymbol.Next"/> from it.</summary>
    public static void Merge<TRule>(Span<MergeSymbol> symbols, ref TRule rule)
        where TRule : struct, IMergeRule, allows ref struct
    {
        if (symbols.Length < 2)
        {
            return;
        }

        var merger = new SymbolMerger(symbols.Length * 2);
        for (int i = 0; i + 1 < symbols.Length; i++)
        {
            merger.Consider(symbols, i, i + 1, ref rule);
        }

        while (merger._count > 0)
        {
            Candidate best = merger.Pop();
            int leftIndex = (int)(uint)best.Key;
            ref MergeSymbol left = ref symbols[leftIndex];
            ref MergeSymbol right = ref symbols[best.Right];

            // A candidate is out of date when one of its runs has merged since: then a length is 0 or their sum has grown.
            if (left.Length == 0 || right.Length == 0 || left.Length + right.Length != best.Length)
            {
                continue;
            }

            left.Length = best.Length;
            left.Id = best.Id;
            left.Next = right.Next;
            right.Length = 0;
            if (left.Next >= 0)
            {
                symbols[left.Next].Previous = leftIndex;
                merger.Consider(symbols, leftIndex, left.Next, ref rule);
            }

            if (left.Previous >= 0)
            {
                merger.Consider(symbols, left.Previous, leftIndex, ref rule);
            }
        }

        ArrayPool<Candidate>.Shared.Return(merger._heap);
    }

    private void Consider<TRule>(Span<MergeSymbol> symbols, int left, int right, ref TRule rule)
        where TRule : struct, IMergeRule, allows ref struct
    {
        if (rule.TryMerge(in symbols[left], in symbols[right], out uint rank, out int id))
        {
            Push(new Candidate
            {
                Key = ((ulong)rank << 32) | (uint)left,
                Right = right,
                Length = symbols[left].Length + symbols[right].Length,
                Id = id,
            });
        }
    }

    private void Push(Candidate item)
    {
        if (_count == _heap.Length)
        {
            Candidate[] larger = ArrayPool<Candidate>.Shared.Rent(_count * 2);
            _heap.AsSpan(0, _count).CopyTo(larger);
            ArrayPool<Candidate>.Shared.Return(_heap);
            _heap = larger;
        }

        int at = _count++;
        while (at > 0)
        {
            int parent = (at - 1) >> 1;
            if (_heap[parent].Key <= item.Key)
            {
                break;
            }

            _heap[at] = _heap[parent];
            at = parent;
        }

        _heap[at] = item;
    }

    private Candidate Pop()
    {
        Candidate top = _heap[0], last = _heap[--_count];
        int at = 0;
        for (int child = 1; child < _count; child = (2 * at) + 1)
        {
            if (child + 1 < _count && _heap[child + 1].Key < _heap[child].Key)
            {
                child++;
            }

            if (last.Key <= _heap[child].Key)
            {
                break;
            }

            _heap[at] = _heap[child];
            at = child;
        }

        _heap[at] = last;
        return top;
    }

    /// <summary>A pair that may merge. Key: rank above, index of the left run below.</summary>
    private struct Candidate
    {
        public ulong Key;
        public int Right;
        public int Length;
        public int Id;
    }
}
