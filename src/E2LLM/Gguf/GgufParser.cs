using System.Buffers.Binary;

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

    /// <summary>What a header says, by name and in order. <paramref name="HeaderBytes"/>: bytes up to the end of the tensor table, before padding.</summary>
    public sealed record Header(
        int Version, GgufNameTable Keys, GgufMetadata.Value[] Values, GgufNameTable TensorNames, TensorEntry[] Tensors, int HeaderBytes);

    /// <summary>A row of the tensor table, its name and dimensions left where they are. Offset counts from the start of the file.</summary>
    public record struct TensorEntry(TensorType Type, int DimensionsOffset, int DimensionCount, int OffsetField, long Offset, long Bytes);

    /// <param name="window">The first bytes of the file: all of it, or as much as the header cap allows.</param>
    /// <param name="fileBytes">Size of the whole file.</param>
    /// <param name="limits">Caps, already validated.</param>
    public static Header Parse(ReadOnlySpan<byte> window, long fileBytes, GgufLimits limits)
    {
        var cursor = new GgufCursor(window, window.Length == fileBytes);
        int version = ReadVersion(ref cursor);

        // Both counts precede both tables, so each is first held against all that follows; then the tables can be allocated.
        cursor.EnterField("tensor count");
        int tensorCount = cursor.Count(limits.MaxTensorCount, MinimumTensorBytes);
        cursor.EnterField("metadata count");
        int pairCount = cursor.Count(limits.MaxMetadataCount, MinimumPairBytes);

        var keys = new GgufNameTable(pairCount);
        var values = new GgufMetadata.Value[pairCount];
        for (int i = 0; i < pairCount; i++)
        {
            values[i] = ReadPair(ref cursor, i, limits, keys);
        }

        int alignment = ReadAlignment(window, keys, values, limits);
        cursor.EnterField("tensor count");
        if (tensorCount > cursor.Remaining / MinimumTensorBytes)
        {
            throw cursor.Fault(8, $"{tensorCount} tensors need more than the {cursor.Remaining} bytes after the metadata.");
        }

        var names = new GgufNameTable(tensorCount);
        var tensors = new TensorEntry[tensorCount];
        for (int i = 0; i < tensorCount; i++)
        {
            tensors[i] = ReadTensor(ref cursor, i, names);
        }

        Place(ref cursor, names, tensors, alignment, fileBytes);
        return new Header(version, keys, values, names, tensors, cursor.Position);
    }

    private static int ReadVersion(ref GgufCursor cursor)
    {
        cursor.EnterField("magic");
        if (cursor.UInt32() != Magic)
        {
            throw cursor.Fault(0, "the file does not start with \"GGUF\".");
        }

        cursor.EnterField("version");
        uint version = cursor.UInt32();
        return version switch
        {
            2 or 3 => (int)version,
            _ when (version & 0xFFFF) == 0 && version != 0 =>
                throw cursor.Fault(4, $"0x{version:X8} looks like a big-endian file; versions 2 and 3, little-endian, are supported."),
            _ => throw cursor.Fault(4, $"version {version} is not supported; versions 2 and 3 are."),
        };
    }

    private static GgufMetadata.Value ReadPair(ref GgufCursor cursor, int index, GgufLimits limits, GgufNameTable keys)
    {
        int start = cursor.Position;
        cursor.EnterField("key", index);
        ReadOnlySpan<byte> key = cursor.Utf8(limits.MaxStringBytes);
        if (key.IsEmpty)
        {
            throw cursor.Fault(start, "the key is empty.");
        }

        cursor.EnterField(key);
        if (!keys.TryAdd(cursor.Window, cursor.Position - key.Length, key.Length))
        {
            throw cursor.Fault(start, "the key is given twice.");
        }

        GgufValueType type = ReadType(ref cursor);
        return type == GgufValueType.Array ? ReadArray(ref cursor, limits) : ReadScalar(ref cursor, type, limits);
    }

    private static GgufValueType ReadType(ref GgufCursor cursor)
    {
        int start = cursor.Position;
        uint type = cursor.UInt32();
        return type <= (uint)GgufValueType.Float64
            ? (GgufValueType)type
            : throw cursor.Fault(start, $"unknown value type {type}; 0 to {(int)GgufValueType.Float64} are defined.");
    }

    private static GgufMetadata.Value ReadScalar(ref GgufCursor cursor, GgufValueType type, GgufLimits limits)
    {
        if (type == GgufValueType.String)
        {
            int bytes = cursor.Utf8(limits.MaxStringBytes).Length;
            return new GgufMetadata.Value(type, default, cursor.Position - bytes, bytes, null);
        }

        int offset = cursor.Position;
        ReadOnlySpan<byte> value = cursor.Take(GgufValueTypes.FixedBytes(type));
        CheckBooleans(ref cursor, type, value, offset);
        return new GgufMetadata.Value(type, default, offset, 1, null);
    }

    private static GgufMetadata.Value ReadArray(ref GgufCursor cursor, GgufLimits limits)
    {
        int start = cursor.Position;
        GgufValueType element = ReadType(ref cursor);
        if (element == GgufValueType.Array)
        {
            throw cursor.Fault(start, "arrays of arrays are not read.");
        }

        if (element == GgufValueType.String)
        {
            int count = cursor.Count(limits.MaxArrayElementCount, 8);
            int offset = cursor.Position;
            var starts = new int[count + 1];
            for (int i = 0; i < count; i++)
            {
                int bytes = cursor.Utf8(limits.MaxStringBytes).Length;
                starts[i] = cursor.Position - bytes;
            }

            starts[count] = cursor.Position + 8;
            return new GgufMetadata.Value(GgufValueType.Array, element, offset, count, starts);
        }

        int width = GgufValueTypes.FixedBytes(element);
        int elements = cursor.Count(limits.MaxArrayElementCount, width);
        int first = cursor.Position;
        CheckBooleans(ref cursor, element, cursor.Take(elements * width), first);
        return new GgufMetadata.Value(GgufValueType.Array, element, first, elements, null);
    }

    private static void CheckBooleans(ref GgufCursor cursor, GgufValueType type, ReadOnlySpan<byte> bytes, int offset)
    {
        int wrong = type == GgufValueType.Bool ? bytes.IndexOfAnyExcept((byte)0, (byte)1) : -1;
        if (wrong >= 0)
        {
            throw cursor.Fault(offset + wrong, $"a truth value is 0 or 1, found {bytes[wrong]}.");
        }
    }

    private static int ReadAlignment(ReadOnlySpan<byte> window, GgufNameTable keys, GgufMetadata.Value[] values, GgufLimits limits)
    {
        int index = keys.Find(window, "general.alignment"u8);
        if (index < 0)
        {
            return DefaultAlignment;
        }

        GgufMetadata.Value value = values[index];
        if (value.Type != GgufValueType.UInt32)
        {
            throw new GgufFormatException(value.Offset, AlignmentKey, $"expected UInt32, found {value.Type}.");
        }

        uint alignment = BinaryPrimitives.ReadUInt32LittleEndian(window[value.Offset..]);
        return System.Numerics.BitOperations.IsPow2(alignment) && alignment <= (uint)limits.MaxAlignmentBytes
            ? (int)alignment
            : throw new GgufFormatException(
                value.Offset, AlignmentKey, $"expected a power of two up to {limits.MaxAlignmentBytes}, found {alignment}.");
    }

    private static TensorEntry ReadTensor(ref GgufCursor cursor, int index, GgufNameTable names)
    {
        int start = cursor.Position;
        cursor.EnterField("name of tensor", index);
        ReadOnlySpan<byte> name = cursor.Utf8(MaxTensorNameBytes);
        if (name.IsEmpty || name.Contains((byte)0))
        {
            throw cursor.Fault(start, "the name is empty or has a zero byte.");
        }

        cursor.EnterField(name);
        if (!names.TryAdd(cursor.Window, cursor.Position - name.Length, name.Length))
        {
            throw cursor.Fault(start, "two tensors have this name.");
        }

        int dimensionStart = cursor.Position;
        uint dimensionCount = cursor.UInt32();
        if (dimensionCount is 0 or > MaxDimensionCount)
        {
            throw cursor.Fault(dimensionStart, $"{dimensionCount} dimensions; 1 to {MaxDimensionCount} are possible.");
        }

        Span<long> dimensions = stackalloc long[MaxDimensionCount];
        dimensions = dimensions[..(int)dimensionCount];
        for (int i = 0; i < dimensions.Length; i++)
        {
            int at = cursor.Position;
            dimensions[i] = (long)cursor.UInt64();
            if (dimensions[i] < 1)
            {
                throw cursor.Fault(at, $"dimension {i} is {(ulong)dimensions[i]}; 1 to 2^63 - 1 is possible.");
            }
        }

        int typeStart = cursor.Position;
        uint type = cursor.UInt32();
        long bytes = SizeOf(ref cursor, type, dimensions, typeStart);
        int offsetStart = cursor.Position;
        return new TensorEntry((TensorType)type, dimensionStart + 4, dimensions.Length, offsetStart, (long)cursor.UInt64(), bytes);
    }

    private static long SizeOf(ref GgufCursor cursor, uint type, scoped ReadOnlySpan<long> dimensions, int offset)
    {
        if (!GgmlTypeTable.TryGet(type, out int blockElements, out int blockBytes))
        {
            throw new NotSupportedException(
                $"GGUF: tensor '{cursor.Field}' (type at byte {offset}) has type {type}, which is unknown. "
                + $"Supported: {string.Join(", ", Enum.GetNames<TensorType>())}.");
        }

        if (dimensions[0] % blockElements != 0)
        {
            throw cursor.Fault(
                offset, $"rows of {dimensions[0]} elements are no whole number of {GgmlTypeTable.NameOf(type)} blocks of {blockElements}.");
        }

        // The element count must fit, as the reference reader asks, and then the byte count, which 8 bytes an element can push over.
        UInt128 elements = 1;
        foreach (long dimension in dimensions)
        {
            elements *= (ulong)dimension;
            if (elements >= long.MaxValue)
            {
                throw cursor.Fault(offset, "the dimensions multiply to 2^63 - 1 or more.");
            }
        }

        UInt128 bytes = elements / (ulong)blockElements * (ulong)blockBytes;
        return bytes <= long.MaxValue ? (long)bytes : throw cursor.Fault(offset, $"the tensor's size of {bytes} bytes is 2^63 or more.");
    }

    /// <summary>
    /// Checks that each tensor starts exactly where the ones before it end, padded, and that the last ends inside the file.
    /// Turns offsets from those of the data section into those of the file.
    /// </summary>
    private static void Place(ref GgufCursor cursor, GgufNameTable names, TensorEntry[] tensors, int alignment, long fileBytes)
    {
        long dataStart = Pad(cursor.Position, alignment);
        long expected = 0;
        for (int i = 0; i < tensors.Length; i++)
        {
            ref TensorEntry tensor = ref tensors[i];
            cursor.EnterField(names[cursor.Window, i]);
            if (tensor.Offset != expected)
            {
                throw cursor.Fault(
                    tensor.OffsetField,
                    $"the data starts at {(ulong)tensor.Offset} of the data section; after the tensors before it, aligned to {alignment}, it must start at {expected}.");
            }

            // Neither sum can wrap: expected never exceeds the file's size plus the padding.
            long start = dataStart + expected;
            if (start > fileBytes || tensor.Bytes > fileBytes - start)
            {
                throw cursor.Fault(tensor.OffsetField, $"needs {tensor.Bytes} bytes from byte {start} on, but the file has {fileBytes}.");
            }

            tensor.Offset = start;
            expected = Pad(expected + tensor.Bytes, alignment);
        }
    }

    private static long Pad(long value, int alignment) => (value + alignment - 1) & -alignment;
}
