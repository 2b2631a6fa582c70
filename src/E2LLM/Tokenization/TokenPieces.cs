using System.Text;

namespace E2LLM.Tokenization;

/// <summary>The bytes that each token stands for; none for control tokens. Immutable; thread-safe.</summary>
internal sealed class TokenPieces
{
    private readonly byte[] _bytes;
    private readonly int[] _starts;

    /// <param name="count">Number of tokens.</param>
    /// <param name="append">Writes the bytes of one token.</param>
    /// <param name="dropsLeadingSpace">Whether a text's first space is one that encoding put there.</param>
    public TokenPieces(int count, Action<int, List<byte>> append, bool dropsLeadingSpace)
    {
        var all = new List<byte>();
        _starts = new int[count + 1];
        for (int id = 0; id < count; id++)
        {
            append(id, all);
            _starts[id + 1] = all.Count;
        }

        _bytes = [.. all];
        DropsLeadingSpace = dropsLeadingSpace;
    }

    public int Count => _starts.Length - 1;

    public bool DropsLeadingSpace { get; }

    /// <summary>All pieces, one after another, and where each starts; then the end of the last.</summary>
    public (byte[] Bytes, int[] Starts) Bytes => (_bytes, _starts);

    public ReadOnlySpan<byte> this[int id] => _bytes.AsSpan(_starts[id], _starts[id + 1] - _starts[id]);

    /// <summary>The bytes of token <paramref name="id"/>, or the argument error for an id outside the vocabulary.</summary>
    public ReadOnlySpan<byte> Checked(int id) => (uint)id < (uint)Count
        ? this[id]
        : throw new ArgumentOutOfRangeException(nameof(id), id, $"The vocabulary has ids 0 to {Count - 1}.");

    public string Decode(IEnumerable<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        var decoder = new PieceDecoder(this);
        var text = new StringBuilder();
        foreach (int id in ids)
        {
            text.Append(decoder.Append(id));
        }

        return text.Append(decoder.Flush()).ToString();
    }
}
