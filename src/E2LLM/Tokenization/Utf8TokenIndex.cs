using E2LLM.Gguf;

namespace E2LLM.Tokenization;

/// <summary>
/// Finds the id of a byte string: an open-addressing hash table over strings that lie one after another in one array. The
/// hash is the runtime's, seeded anew in each process, so that a file cannot choose colliding tokens. Immutable once filled.
/// </summary>
internal sealed class Utf8TokenIndex
{
    private readonly byte[] _bytes;
    private readonly int[] _starts;
    private readonly int[] _slots;
    private readonly int _mask;

    /// <param name="bytes">All strings, one after another.</param>
    /// <param name="starts">Start of each string in <paramref name="bytes"/>, then the end of the last.</param>
    public Utf8TokenIndex(byte[] bytes, int[] starts)
    {
        _bytes = bytes;
        _starts = starts;
        int capacity = (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(4, 2 * (starts.Length - 1)));
        _slots = new int[capacity];
        _mask = capacity - 1;
    }

    /// <summary>Longest string that was added, in bytes.</summary>
    public int MaxBytes { get; private set; }

    /// <summary>The bytes of string <paramref name="id"/>, whether it was added or not.</summary>
    public ReadOnlySpan<byte> Text(int id) => _bytes.AsSpan(_starts[id], _starts[id + 1] - _starts[id]);

    /// <summary>Adds string <paramref name="id"/>; false where an equal one is there already.</summary>
    public bool TryAdd(int id)
    {
        ReadOnlySpan<byte> text = Text(id);
        int slot = Utf8Hash.Of(text) & _mask;
        for (; _slots[slot] != 0; slot = (slot + 1) & _mask)
        {
            if (Text(_slots[slot] - 1).SequenceEqual(text))
            {
                return false;
            }
        }

        _slots[slot] = id + 1;
        MaxBytes = Math.Max(MaxBytes, text.Length);
        return true;
    }

    /// <summary>The id of <paramref name="text"/>, or -1.</summary>
    public int Find(ReadOnlySpan<byte> text)
    {
        if (text.Length > MaxBytes)
        {
            return -1;
        }

        for (int slot = Utf8Hash.Of(text) & _mask; _slots[slot] != 0; slot = (slot + 1) & _mask)
        {
            if (Text(_slots[slot] - 1).SequenceEqual(text))
            {
                return _slots[slot] - 1;
            }
        }

        return -1;
    }
}
