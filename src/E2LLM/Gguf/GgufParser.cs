namespace E2LLM.Gguf;

/// <summary>
/// Reads a GGUF header: magic, version, metadata, tensor table. Rejects what the format's reference reader rejects and more:
/// empty or duplicate names, dimensions below 1, sizes that do not fit, offsets that are not exactly where the tensors before
/// them end. Pure: bytes in, tables out.
/// </summary>
internal static class GgufParser
{
    private const uint Magic = 0x4655_4747; // "GGUF" read as a little-endian number
    private const int DefaultAlignment = 32;
    private const int MaxDimensionCount = 4;
    private const int MaxTensorNameBytes = 63; // the reference reader's GGML_MAX_NAME is 64 with a terminator
    private const int MinimumPairBytes = 8 + 1 + 4 + 1; // a key of one byte and a value of one
    private const int MinimumTensorBytes = 8 + 1 + 4 + 8 + 4 + 8; // a name of one byte and one dimension
    private const string AlignmentKey = "general.alignment";

    /// <summary>What a header says. <paramref name="HeaderBytes"/>: bytes up to the end of the tensor table, before padding.</summary>
    public sealed record Header(int Version, Dictionary<string, GgufMetadata.Value> Values, GgufTensor[] Tensors, int HeaderBytes);

    /// <param name="window">The first bytes of the file: all of it, or as much as the header cap allows.</param>
    /// <param name="fileBytes">Size of the whole file.</param>
    /// <param name="limits">Caps, already validated.</param>
    public static Header Parse(ReadOnlySpan<byte> window, long fileBytes, GgufLimits limits)
    {
        var cursor = new GgufCursor(window, window.Length == fileBytes);
        int version = ReadVersion(ref cursor);

        // Both counts precede both tables, so each is first held against all that follows.
        int tensorCount = cursor.Count("tensor count", limits.MaxTensorCount, MinimumTensorBytes);
        int pairCount = cursor.Count("metadata count", limits.MaxMetadataCount, MinimumPairBytes);

        var values = new Dictionary<string, GgufMetadata.Value>(StringComparer.Ordinal);
        for (int i = 0; i < pairCount; i++)
        {
            ReadPair(ref cursor, i, limits, values);
        }

        int alignment = ReadAlignment(window, values, limits);
        var shapes = new List<TensorEntry>();
        var names = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0; i < tensorCount; i++)
        {
            shapes.Add(ReadTensor(ref cursor, i, names));
        }

        return new Header(version, values, Place(shapes, cursor.Position, alignment, fileBytes), cursor.Position);
    }

    private static int ReadVersion(ref GgufCursor cursor)
    {
        if (cursor.UInt32("magic") != Magic)
        {
            throw new GgufFormatException(0, "magic", "the file does not start with \"GGUF\".");
        }

        uint version = cursor.UInt32("version");
        return version switch
        {
            2 or 3 => (int)version,
            _ when (version & 0xFFFF) == 0 && version != 0 => throw new GgufFormatException(
                4, "version", $"0x{version:X8} looks like a big-endian file; versions 2 and 3, little-endian, are supported."),
            _ => throw new GgufFormatException(4, "version", $"version {version} is not supported; versions 2 and 3 are."),
        };
    }

    private static void ReadPair(ref GgufCursor cursor, int index, GgufLimits limits, Dictionary<string, GgufMetadata.Value> values)
    {
        int start = cursor.Position;
        string key = cursor.String($"key {index}", limits.MaxStringBytes);
        if (key.Length == 0)
        {
            throw new GgufFormatException(start, $"key {index}", "the key is empty.");
        }

        GgufValueType type = ReadType(ref cursor, key);
        GgufMetadata.Value value = type == GgufValueType.Array
            ? ReadArray(ref cursor, key, limits)
            : ReadScalar(ref cursor, key, type, limits);
        if (!values.TryAdd(key, value))
        {
            throw new GgufFormatException(start, key, "the key is given twice.");
        }
    }

    private static GgufValueType ReadType(ref GgufCursor cursor, string key)
    {
        int start = cursor.Position;
        uint type = cursor.UInt32(key);
        return type <= (uint)GgufValueType.Float64
            ? (GgufValueType)type
            : throw new GgufFormatException(start, key, $"unknown value type {type}; 0 to {(int)GgufValueType.Float64} are defined.");
    }

    private static GgufMetadata.Value ReadScalar(ref GgufCursor cursor, string key, GgufValueType type, GgufLimits limits)
    {
        if (type == GgufValueType.String)
        {
            int bytes = cursor.Utf8(key, limits.MaxStringBytes).Length;
            return new GgufMetadata.Value(type, default, cursor.Position - bytes, bytes, null);
        }

        int offset = cursor.Position;
        ReadOnlySpan<byte> value = cursor.Take(GgufValueTypes.FixedBytes(type), key);
        CheckBooleans(type, value, offset, key);
        return new GgufMetadata.Value(type, default, offset, 1, null);
    }

    private static GgufMetadata.Value ReadArray(ref GgufCursor cursor, string key, GgufLimits limits)
    {
        int start = cursor.Position;
        GgufValueType element = ReadType(ref cursor, key);
        if (element == GgufValueType.Array)
        {
            throw new GgufFormatException(start, key, "arrays of arrays are not read.");
        }

        if (element == GgufValueType.String)
        {
            int count = cursor.Count(key, limits.MaxArrayElementCount, 8);
            int offset = cursor.Position;
            var starts = new int[count + 1];
            for (int i = 0; i < count; i++)
            {
                int bytes = cursor.Utf8(key, limits.MaxStringBytes).Length;
                starts[i] = cursor.Position - bytes;
            }

            starts[count] = cursor.Position + 8;
            return new GgufMetadata.Value(GgufValueType.Array, element, offset, count, starts);
        }

        int width = GgufValueTypes.FixedBytes(element);
        int elements = cursor.Count(key, limits.MaxArrayElementCount, width);
        int first = cursor.Position;
        CheckBooleans(element, cursor.Take(elements * width, key), first, key);
        return new GgufMetadata.Value(GgufValueType.Array, element, first, elements, null);
    }

    private static void CheckBooleans(GgufValueType type, ReadOnlySpan<byte> bytes, int offset, string key)
    {
        int wrong = type == GgufValueType.Bool ? bytes.IndexOfAnyExcept((byte)0, (byte)1) : -1;
        if (wrong >= 0)
        {
            throw new GgufFormatException(offset + wrong, key, $"a truth value is 0 or 1, found {bytes[wrong]}.");
        }
    }

    private static int ReadAlignment(ReadOnlySpan<byte> window, Dictionary<string, GgufMetadata.Value> values, GgufLimits limits)
    {
        if (!values.TryGetValue(AlignmentKey, out GgufMetadata.Value value))
        {
            return DefaultAlignment;
        }

        if (value.Type != GgufValueType.UInt32)
        {
            throw new GgufFormatException(value.Offset, AlignmentKey, $"expected UInt32, found {value.Type}.");
        }

        uint alignment = System.Buffers.Binary.BinaryPrimitives.ReadUInt32LittleEndian(window[value.Offset..]);
        return System.Numerics.BitOperations.IsPow2(alignment) && alignment <= (uint)limits.MaxAlignmentBytes
            ? (int)alignment
            : throw new GgufFormatException(
                value.Offset, AlignmentKey, $"expected a power of two up to {limits.MaxAlignmentBytes}, found {alignment}.");
    }

    private static TensorEntry ReadTensor(ref GgufCursor cursor, int index, HashSet<string> names)
    {
        int start = cursor.Position;
        string field = $"name of tensor {index}";
        string name = cursor.String(field, MaxTensorNameBytes);
        if (name.Length == 0 || name.Contains('\0', StringComparison.Ordinal))
        {
            throw new GgufFormatException(start, field, "the name is empty or has a zero byte.");
        }

        if (!names.Add(name))
        {
            throw new GgufFormatException(start, name, "two tensors have this name.");
        }

        int dimensionStart = cursor.Position;
        uint dimensionCount = cursor.UInt32(name);
        if (dimensionCount is 0 or > MaxDimensionCount)
        {
            throw new GgufFormatException(dimensionStart, name, $"{dimensionCount} dimensions; 1 to {MaxDimensionCount} are possible.");
        }

        var dimensions = new long[dimensionCount];
        for (int i = 0; i < dimensions.Length; i++)
        {
            int at = cursor.Position;
            dimensions[i] = (long)cursor.UInt64(name);
            if (dimensions[i] < 1)
            {
                throw new GgufFormatException(at, name, $"dimension {i} is {(ulong)dimensions[i]}; 1 to 2^63 - 1 is possible.");
            }
        }

        int typeStart = cursor.Position;
        uint type = cursor.UInt32(name);
        long bytes = SizeOf(name, type, dimensions, typeStart);
        int offsetStart = cursor.Position;
        return new TensorEntry(name, (TensorType)type, dimensions, cursor.UInt64(name), bytes, offsetStart);
    }

    private static long SizeOf(string name, uint type, long[] dimensions, int offset)
    {
        if (!GgmlTypeTable.TryGet(type, out int blockElements, out int blockBytes))
        {
            throw new NotSupportedException(
                $"GGUF: tensor '{name}' (type at byte {offset}) has type {type}, which is unknown. "
                + $"Supported: {string.Join(", ", Enum.GetNames<TensorType>())}.");
        }

        if (dimensions[0] % blockElements != 0)
        {
            throw new GgufFormatException(
                offset, name, $"rows of {dimensions[0]} elements are no whole number of {GgmlTypeTable.NameOf(type)} blocks of {blockElements}.");
        }

        // The element count must fit, as the reference reader asks, and then the byte count, which 8 bytes an element can push over.
        UInt128 elements = 1;
        foreach (long dimension in dimensions)
        {
            elements *= (ulong)dimension;
            if (elements >= long.MaxValue)
            {
                throw new GgufFormatException(offset, name, $"the dimensions [{string.Join(", ", dimensions)}] multiply to 2^63 - 1 or more.");
            }
        }

        UInt128 bytes = elements / (ulong)blockElements * (ulong)blockBytes;
        return bytes <= long.MaxValue
            ? (long)bytes
            : throw new GgufFormatException(offset, name, $"the tensor's size of {bytes} bytes is 2^63 or more.");
    }

    /// <summary>Checks that each tensor starts exactly where the ones before it end, padded, and that the last ends inside the file.</summary>
    private static GgufTensor[] Place(List<TensorEntry> entries, int tableEnd, int alignment, long fileBytes)
    {
        long dataStart = Pad(tableEnd, alignment);
        long expected = 0;
        var tensors = new GgufTensor[entries.Count];
        for (int i = 0; i < tensors.Length; i++)
        {
            TensorEntry entry = entries[i];
            if (entry.Offset != (ulong)expected)
            {
                throw new GgufFormatException(
                    entry.OffsetField,
                    entry.Name,
                    $"the data starts at {entry.Offset} of the data section; after the tensors before it, aligned to {alignment}, it must start at {expected}.");
            }

            // Neither sum can wrap: expected never exceeds the file's size plus the padding.
            long start = dataStart + expected;
            if (start > fileBytes || entry.Bytes > fileBytes - start)
            {
                throw new GgufFormatException(
                    entry.OffsetField, entry.Name, $"needs {entry.Bytes} bytes from byte {start} on, but the file has {fileBytes}.");
            }

            tensors[i] = new GgufTensor(entry.Name, entry.Type, Array.AsReadOnly(entry.Dimensions), start, entry.Bytes);
            expected = Pad(expected + entry.Bytes, alignment);
        }

        return tensors;
    }

    private static long Pad(long value, int alignment) => (value + alignment - 1) & -alignment;

    private readonly record struct TensorEntry(
        string Name, TensorType Type, long[] Dimensions, ulong Offset, long Bytes, int OffsetField);
}
