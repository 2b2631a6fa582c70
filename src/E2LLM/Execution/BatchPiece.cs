using E2LLM.KvCaching;

namespace E2LLM.Execution;

/// <summary>The tokens that go through the layers together: some positions of some sequences. Refilled for each piece; owned by one executor.</summary>
internal sealed class BatchPiece(int maxTokenCount)
{
    private readonly int[] _slices = new int[maxTokenCount];
    private readonly int[] _positions = new int[maxTokenCount];
    private Slice[] _entries = new Slice[4];

    /// <summary>Positions <c>[Position, Position + TokenCount)</c> of one sequence, whose first row in the piece is <c>FirstToken</c>.</summary>
    internal readonly record struct Slice(KvCache Cache, int FirstToken, int TokenCount, int Position);

    /// <summary>Rows in the piece.</summary>
    internal int TokenCount { get; private set; }

    /// <summary>Sequences in the piece.</summary>
    internal int SliceCount { get; private set; }

    /// <summary>Sequences of the piece.</summary>
    internal ReadOnlySpan<Slice> Slices => _entries.AsSpan(0, SliceCount);

    /// <summary>The sequence of a row.</summary>
    internal ref readonly Slice SliceOf(int token) => ref _entries[_slices[token]];

    /// <summary>The position of a row within its sequence.</summary>
    internal int PositionOf(int token) => _positions[token];

    /// <summary>Empties the piece; nothing keeps a cache alive afterwards.</summary>
    internal void Clear()
    {
        Array.Clear(_entries, 0, SliceCount);
        TokenCount = 0;
        SliceCount = 0;
    }

    /// <summary>Adds positions of a sequence.</summary>
    internal void Add(KvCache cache, int position, int tokenCount)
    {
        if (SliceCount == _entries.Length)
        {
            Array.Resize(ref _entries, 2 * SliceCount);
        }

        for (int i = 0; i < tokenCount; i++)
        {
            _slices[TokenCount + i] = SliceCount;
            _positions[TokenCount + i] = position + i;
        }

        _entries[SliceCount++] = new Slice(cache, TokenCount, tokenCount, position);
        TokenCount += tokenCount;
    }
}
