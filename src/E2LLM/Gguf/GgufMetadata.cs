using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace E2LLM.Gguf;

/// <summary>
/// The metadata of a GGUF file: keys with typed values. Values stay encoded until a getter asks for them. Valid after the
/// file is disposed. Immutable; thread-safe. A missing key or a value of another type is a <see cref="GgufFormatException"/>
/// that names key, offset, what was expected and what was found.
/// </summary>
public sealed class GgufMetadata
{
    private readonly ReadOnlyMemory<byte> _header;
    private readonly GgufNameTable _keys;
    private readonly Value[] _values;

    internal GgufMetadata(ReadOnlyMemory<byte> header, GgufNameTable keys, Value[] values)
    {
        _header = header;
        _keys = keys;
        _values = values;
    }

    /// <summary>All keys, in the order of the file; decoded anew each time.</summary>
    public IReadOnlyCollection<string> Keys => [.. Enumerable.Range(0, _keys.Count).Select(index => Encoding.UTF8.GetString(_keys[_header.Span, index]))];

    /// <summary>Whether the file has <paramref name="key"/>.</summary>
    public bool Contains(string key) => TryFind(key, out _);

    /// <summary>The type of a value; <see cref="GgufValueType.Array"/> for every array.</summary>
    /// <exception cref="GgufFormatException">The key is missing.</exception>
    public GgufValueType GetValueType(string key) => Require(key).Type;

    /// <summary>Number of elements of an array.</summary>
    /// <exception cref="GgufFormatException">The key is missing or no array.</exception>
    public int GetArrayLength(string key)
    {
        Value value = Require(key);
        return value.Type == GgufValueType.Array ? value.Count : throw Wrong(key, value, "an array");
    }

    /// <summary>A string.</summary>
    /// <exception cref="GgufFormatException">The key is missing or no string.</exception>
    public string GetString(string key) => StringOf(key, Require(key));

    /// <summary>A string, where the key is there.</summary>
    /// <exception cref="GgufFormatException">The key is there but no string.</exception>
    public bool TryGetString(string key, [NotNullWhen(true)] out string? text)
    {
        text = TryFind(key, out Value value) ? StringOf(key, value) : null;
        return text is not null;
    }

    /// <summary>An integer of any width that fits in 32 bits.</summary>
    /// <exception cref="GgufFormatException">The key is missing, no integer, or out of range.</exception>
    public int GetInt32(string key) => Int32Of(key, Require(key));

    /// <summary>An integer of any width that fits in 32 bits, where the key is there.</summary>
    /// <exception cref="GgufFormatException">The key is there but no integer, or out of range.</exception>
    public bool TryGetInt32(string key, out int number)
    {
        bool found = TryFind(key, out Value value);
        number = found ? Int32Of(key, value) : 0;
        return found;
    }

    /// <summary>An integer of any width; an unsigned one above 2^63 - 1 comes back as the number of that bit pattern.</summary>
    internal long GetInteger(string key)
    {
        Value value = Require(key);
        return GgufValueTypes.IsInteger(value.Type)
            ? unchecked((long)WideIntegerAt(value.Type, value.Offset))
            : throw Wrong(key, value, "an integer");
    }

    /// <summary>A floating-point number; 64-bit values are rounded to 32.</summary>
    /// <exception cref="GgufFormatException">The key is missing or no floating-point number.</exception>
    public float GetSingle(string key) => SingleOf(key, Require(key));

    /// <summary>A floating-point number, where the key is there.</summary>
    /// <exception cref="GgufFormatException">The key is there but no floating-point number.</exception>
    public bool TryGetSingle(string key, out float number)
    {
        bool found = TryFind(key, out Value value);
        number = found ? SingleOf(key, value) : 0;
        return found;
    }

    /// <summary>A truth value.</summary>
    /// <exception cref="GgufFormatException">The key is missing or no truth value.</exception>
    public bool GetBoolean(string key) => BooleanOf(key, Require(key));

    /// <summary>A truth value, where the key is there.</summary>
    /// <exception cref="GgufFormatException">The key is there but no truth value.</exception>
    public bool TryGetBoolean(string key, out bool flag)
    {
        bool found = TryFind(key, out Value value);
        flag = found && BooleanOf(key, value);
        return found;
    }

    /// <summary>An array of strings, decoded.</summary>
    /// <exception cref="GgufFormatException">The key is missing or no array of strings.</exception>
    public IReadOnlyList<string> GetStrings(string key)
    {
        GgufStringArray encoded = GetUtf8Strings(key);
        var texts = new string[encoded.Count];
        for (int i = 0; i < texts.Length; i++)
        {
            texts[i] = Encoding.UTF8.GetString(encoded[i]);
        }

        return texts;
    }

    /// <summary>An array of integers of any width, each of which fits in 32 bits.</summary>
    /// <exception cref="GgufFormatException">The key is missing, no array of integers, or an element is out of range.</exception>
    public IReadOnlyList<int> GetInt32s(string key)
    {
        Value value = Require(key);
        if (value.Type != GgufValueType.Array || !GgufValueTypes.IsInteger(value.ElementType))
        {
            throw Wrong(key, value, "an array of integers");
        }

        int width = GgufValueTypes.FixedBytes(value.ElementType);
        var numbers = new int[value.Count];
        for (int i = 0; i < numbers.Length; i++)
        {
            numbers[i] = IntegerAt(key, value.ElementType, value.Offset + (i * width));
        }

        return numbers;
    }

    /// <summary>An array of floating-point numbers; 64-bit elements are rounded to 32.</summary>
    /// <exception cref="GgufFormatException">The key is missing or no array of floating-point numbers.</exception>
    public IReadOnlyList<float> GetSingles(string key)
    {
        Value value = Require(key);
        if (value.Type != GgufValueType.Array || value.ElementType is not (GgufValueType.Float32 or GgufValueType.Float64))
        {
            throw Wrong(key, value, "an array of floating-point numbers");
        }

        int width = GgufValueTypes.FixedBytes(value.ElementType);
        var numbers = new float[value.Count];
        for (int i = 0; i < numbers.Length; i++)
        {
            numbers[i] = FloatAt(value.ElementType, value.Offset + (i * width));
        }

        return numbers;
    }

    /// <summary>An array of strings as it is encoded, without decoding one.</summary>
    internal GgufStringArray GetUtf8Strings(string key)
    {
        Value value = Require(key);
        return value.Type == GgufValueType.Array && value.ElementType == GgufValueType.String
            ? new GgufStringArray(_header, value.Starts!)
            : throw Wrong(key, value, "an array of strings");
    }

    /// <summary>
    /// A value as the file encodes it, behind its type: two files with equal bytes here and equal types have equal values. Lengths of strings
    /// and arrays are left out except between the elements of an array of strings.
    /// </summary>
    internal (GgufValueType Type, GgufValueType ElementType, ReadOnlyMemory<byte> Bytes) EncodedValue(string key)
    {
        Value value = Require(key);
        int bytes = value.Type switch
        {
            GgufValueType.String => value.Count,
            GgufValueType.Array when value.ElementType == GgufValueType.String => value.Count == 0 ? 0 : value.Starts![^1] - 8 - value.Starts[0],
            GgufValueType.Array => checked(value.Count * GgufValueTypes.FixedBytes(value.ElementType)),
            _ => GgufValueTypes.FixedBytes(value.Type),
        };
        int start = value is { Type: GgufValueType.Array, ElementType: GgufValueType.String, Count: > 0 } ? value.Starts![0] : value.Offset;
        return (value.Type, value.ElementType, _header.Slice(start, bytes));
    }

    /// <summary>Byte of the file where the value of <paramref name="key"/> starts; 0 where the key is missing.</summary>
    internal long OffsetOf(string key) => TryFind(key, out Value value) ? value.Offset : 0;

    internal GgufFormatException Fault(string key, string message) => new(OffsetOf(key), key, message);

    private bool TryFind(string key, out Value value)
    {
        ArgumentNullException.ThrowIfNull(key);
        int index = _keys.Find(_header.Span, Encoding.UTF8.GetBytes(key));
        value = index < 0 ? default : _values[index];
        return index >= 0;
    }

    private Value Require(string key) => TryFind(key, out Value value)
        ? value
        : throw new GgufFormatException(0, key, "the metadata has no such key, and it is required.");

    private string StringOf(string key, Value value) => value.Type == GgufValueType.String
        ? Encoding.UTF8.GetString(_header.Span.Slice(value.Offset, value.Count))
        : throw Wrong(key, value, "a string");

    private int Int32Of(string key, Value value) => GgufValueTypes.IsInteger(value.Type)
        ? IntegerAt(key, value.Type, value.Offset)
        : throw Wrong(key, value, "an integer");

    private float SingleOf(string key, Value value) => value.Type is GgufValueType.Float32 or GgufValueType.Float64
        ? FloatAt(value.Type, value.Offset)
        : throw Wrong(key, value, "a floating-point number");

    private bool BooleanOf(string key, Value value) => value.Type == GgufValueType.Bool
        ? _header.Span[value.Offset] != 0
        : throw Wrong(key, value, "a truth value");

    private int IntegerAt(string key, GgufValueType type, int offset)
    {
        Int128 number = WideIntegerAt(type, offset);
        return number >= int.MinValue && number <= int.MaxValue
            ? (int)number
            : throw new GgufFormatException(offset, key, $"expected an integer of 32 bits, found {number}.");
    }

    private Int128 WideIntegerAt(GgufValueType type, int offset)
    {
        ReadOnlySpan<byte> bytes = _header.Span[offset..];
        return type switch
        {
            GgufValueType.UInt8 => bytes[0],
            GgufValueType.Int8 => (sbyte)bytes[0],
            GgufValueType.UInt16 => BinaryPrimitives.ReadUInt16LittleEndian(bytes),
            GgufValueType.Int16 => BinaryPrimitives.ReadInt16LittleEndian(bytes),
            GgufValueType.UInt32 => BinaryPrimitives.ReadUInt32LittleEndian(bytes),
            GgufValueType.Int32 => BinaryPrimitives.ReadInt32LittleEndian(bytes),
            GgufValueType.UInt64 => BinaryPrimitives.ReadUInt64LittleEndian(bytes),
            _ => BinaryPrimitives.ReadInt64LittleEndian(bytes),
        };
    }

    private float FloatAt(GgufValueType type, int offset) => type == GgufValueType.Float32
        ? BinaryPrimitives.ReadSingleLittleEndian(_header.Span[offset..])
        : (float)BinaryPrimitives.ReadDoubleLittleEndian(_header.Span[offset..]);

    private static GgufFormatException Wrong(string key, Value value, string expected) => new(
        value.Offset,
        key,
        $"expected {expected}, found {(value.Type == GgufValueType.Array ? $"an array of {value.Count} {value.ElementType}" : value.Type)}.");

    /// <summary>Where a value lies in the header. Count: bytes of a string, elements of an array. Starts: see <see cref="GgufStringArray"/>.</summary>
    internal readonly record struct Value(GgufValueType Type, GgufValueType ElementType, int Offset, int Count, int[]? Starts);
}

/// <summary>An array of UTF-8 strings inside a GGUF header: each element a slice of it, none decoded. Thread-safe.</summary>
internal readonly struct GgufStringArray
{
    private readonly ReadOnlyMemory<byte> _header;
    private readonly int[] _starts;

    /// <param name="header">The header's bytes.</param>
    /// <param name="starts">Start of each element's text, then where a further element's text would start: an 8-byte length precedes each.</param>
    public GgufStringArray(ReadOnlyMemory<byte> header, int[] starts)
    {
        _header = header;
        _starts = starts;
    }

    public int Count => _starts.Length - 1;

    public ReadOnlySpan<byte> this[int index] => _header.Span[_starts[index]..(_starts[index + 1] - 8)];

    public ReadOnlyMemory<byte> Memory(int index) => _header[_starts[index]..(_starts[index + 1] - 8)];
}
