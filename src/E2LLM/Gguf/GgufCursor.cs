using System.Buffers.Binary;
using System.Text;

namespace E2LLM.Gguf;

/// <summary>
/// Reads the fields of a GGUF header from a window of bytes that starts at byte 0 of the file. Every read is checked against
/// the window; every failure names offset and field.
/// </summary>
internal ref struct GgufCursor
{
    private readonly ReadOnlySpan<byte> window;
    private readonly bool windowIsWholeFile;

    /// <param name="window">The first bytes of the file.</param>
    /// <param name="windowIsWholeFile">False where the header cap cut the window short, which changes only the message.</param>
    public GgufCursor(ReadOnlySpan<byte> window, bool windowIsWholeFile)
    {
        this.window = window;
        this.windowIsWholeFile = windowIsWholeFile;
    }

    public int Position { get; private set; }

    public readonly int Remaining => window.Length - Position;

    public byte UInt8(string field) => Take(1, field)[0];

    public uint UInt32(string field) => BinaryPrimitives.ReadUInt32LittleEndian(Take(4, field));

    public ulong UInt64(string field) => BinaryPrimitives.ReadUInt64LittleEndian(Take(8, field));

    public ReadOnlySpan<byte> Take(int count, string field)
    {
        if (count > Remaining)
        {
            throw Short(Position, field, (ulong)count);
        }

        ReadOnlySpan<byte> bytes = window.Slice(Position, count);
        Position += count;
        return bytes;
    }

    /// <summary>A count whose elements take at least <paramref name="minimumBytes"/> each: believed only if they fit in what remains.</summary>
    public int Count(string field, int cap, int minimumBytes)
    {
        int start = Position;
        ulong count = UInt64(field);
        if (count > (ulong)cap)
        {
            throw new GgufFormatException(start, field, $"the count {count} is above the limit of {cap}.");
        }

        if (count * (ulong)minimumBytes > (ulong)Remaining)
        {
            throw Short(start, field, count * (ulong)minimumBytes);
        }

        return (int)count;
    }

    /// <summary>A string's bytes, checked to be UTF-8.</summary>
    public ReadOnlySpan<byte> Utf8(string field, int maxBytes)
    {
        int start = Position;
        ReadOnlySpan<byte> bytes = Take(Count(field, maxBytes, 1), field);
        return System.Text.Unicode.Utf8.IsValid(bytes) ? bytes : throw new GgufFormatException(start + 8, field, "the text is not valid UTF-8.");
    }

    public string String(string field, int maxBytes) => Encoding.UTF8.GetString(Utf8(field, maxBytes));

    private readonly GgufFormatException Short(long offset, string field, ulong needed) => new(
        offset,
        field,
        windowIsWholeFile
            ? $"needs {needed} bytes, but the file ends {Remaining} bytes on."
            : $"needs {needed} bytes, but the limit on header bytes ends {Remaining} bytes on.");
}
