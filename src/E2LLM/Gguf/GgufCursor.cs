using System.Buffers.Binary;
using System.Text;

namespace E2LLM.Gguf;

/// <summary>
/// Reads the fields of a GGUF header from a window of bytes that starts at byte 0 of the file. Every read is checked against
/// the window; every failure names offset and field. The field's name is put together only then.
/// </summary>
internal ref struct GgufCursor
{
    private readonly bool _windowIsWholeFile;
    private ReadOnlySpan<byte> _fieldName;
    private string _fieldText;
    private int _fieldIndex;

    /// <param name="window">The first bytes of the file.</param>
    /// <param name="windowIsWholeFile">False where the header cap cut the window short, which changes only the message.</param>
    public GgufCursor(ReadOnlySpan<byte> window, bool windowIsWholeFile)
    {
        Window = window;
        _windowIsWholeFile = windowIsWholeFile;
        _fieldText = string.Empty;
        _fieldIndex = -1;
    }

    public ReadOnlySpan<byte> Window { get; }

    public int Position { get; private set; }

    public readonly int Remaining => Window.Length - Position;

    /// <summary>What is being read now, for messages.</summary>
    public readonly string Field => _fieldName.Length > 0 ? Encoding.UTF8.GetString(_fieldName) : _fieldIndex < 0 ? _fieldText : $"{_fieldText} {_fieldIndex}";

    public void EnterField(string text, int index = -1)
    {
        _fieldName = default;
        (_fieldText, _fieldIndex) = (text, index);
    }

    /// <summary>From here on the field is the key or tensor of this name.</summary>
    public void EnterField(ReadOnlySpan<byte> name) => _fieldName = name;

    public uint UInt32() => BinaryPrimitives.ReadUInt32LittleEndian(Take(4));

    public ulong UInt64() => BinaryPrimitives.ReadUInt64LittleEndian(Take(8));

    public ReadOnlySpan<byte> Take(int count)
    {
        if (count > Remaining)
        {
            throw Short(Position, (ulong)count);
        }

        ReadOnlySpan<byte> bytes = Window.Slice(Position, count);
        Position += count;
        return bytes;
    }

    /// <summary>A count whose elements take at least <paramref name="minimumBytes"/> each: believed only if they fit in what remains.</summary>
    public int Count(int cap, int minimumBytes)
    {
        int start = Position;
        ulong count = UInt64();
        if (count > (ulong)cap)
        {
            throw Fault(start, $"the count {count} is above the limit of {cap}.");
        }

        if (count * (ulong)minimumBytes > (ulong)Remaining)
        {
            throw Short(start, count * (ulong)minimumBytes);
        }

        return (int)count;
    }

    /// <summary>A string's bytes, checked to be UTF-8.</summary>
    public ReadOnlySpan<byte> Utf8(int maxBytes)
    {
        int start = Position;
        ReadOnlySpan<byte> bytes = Take(Count(maxBytes, 1));
        return System.Text.Unicode.Utf8.IsValid(bytes) ? bytes : throw Fault(start + 8, "the text is not valid UTF-8.");
    }

    public readonly GgufFormatException Fault(long offset, string message) => new(offset, Field, message);

    private readonly GgufFormatException Short(long offset, ulong needed) => Fault(
        offset,
        _windowIsWholeFile
            ? $"needs {needed} bytes, but the file ends {Remaining} bytes on."
            : $"needs {needed} bytes, but the limit on header bytes ends {Remaining} bytes on.");
}
