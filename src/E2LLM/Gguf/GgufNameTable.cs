namespace E2LLM.Gguf;

/// <summary>
/// The names (keys or tensors) of a header and the order they came in: where each lies, and a hash table over them. No
/// strings, so that a file of a million names costs little more than its own bytes. Immutable once filled.
/// </summary>
internal sealed class GgufNameTable
{
    private readonly (int Offset, int Length)[] _names;
    private readonly int[] _slots;

    /// <param name="capacity">How many names will be added.</param>
    public GgufNameTable(int capacity)
    {
        _names = new (int, int)[capacity];
        _slots = new int[System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(4, 2 * capacity))];
    }

    public int Count { get; private set; }

    public ReadOnlySpan<byte> this[ReadOnlySpan<byte> header, int index] => header.Slice(_names[index].Offset, _names[index].Length);

    /// <summary>Adds the name at <paramref name="offset"/> as the next; false where it is there already.</summary>
    public bool TryAdd(ReadOnlySpan<byte> header, int offset, int length)
    {
        int slot = SlotOf(header, header.Slice(offset, length));
        if (_slots[slot] != 0)
        {
            return false;
        }

        _names[Count] = (offset, length);
        _slots[slot] = ++Count;
        return true;
    }

    /// <summary>The index of a name, or -1.</summary>
    public int Find(ReadOnlySpan<byte> header, ReadOnlySpan<byte> name) => _slots[SlotOf(header, name)] - 1;

    /// <summary>The slot that holds the name, or the empty one where it would go.</summary>
    private int SlotOf(ReadOnlySpan<byte> header, ReadOnlySpan<byte> name)
    {
        int slot = Utf8Hash.Of(name) & (_slots.Length - 1);
        while (_slots[slot] != 0 && !this[header, _slots[slot] - 1].SequenceEqual(name))
        {
            slot = (slot + 1) & (_slots.Length - 1);
        }

        return slot;
    }
}
