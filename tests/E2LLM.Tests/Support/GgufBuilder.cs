using System.Buffers.Binary;
using System.Text;

namespace E2LLM.Tests.Support;

/// <summary>
/// Writes GGUF files for tests, honest ones and broken ones: whatever is set is written as it is. It shares no code with the reader.
/// </summary>
internal sealed class GgufBuilder
{
    private readonly List<(byte[] Key, uint Type, byte[] Value)> _pairs = [];
    private readonly List<TensorRow> _tensors = [];

    public uint Magic { get; set; } = BinaryPrimitives.ReadUInt32LittleEndian("GGUF"u8);

    public uint Version { get; set; } = 3;

    public ulong? TensorCount { get; set; }

    public ulong? PairCount { get; set; }

    public int Alignment { get; set; } = 32;

    public GgufBuilder String(string key, string value) => Raw(key, 8, Text(value));

    public GgufBuilder UInt32(string key, uint value) => Raw(key, 4, Number(value, 4));

    public GgufBuilder Single(string key, float value) => Raw(key, 6, Number(BitConverter.SingleToUInt32Bits(value), 4));

    public GgufBuilder Bool(string key, byte value) => Raw(key, 7, [value]);

    public GgufBuilder Strings(string key, params string[] values) => Array(key, 8, (ulong)values.Length, [.. values.SelectMany(Text)]);

    public GgufBuilder Int32s(string key, params int[] values) =>
        Array(key, 5, (ulong)values.Length, [.. values.SelectMany(value => Number((uint)value, 4))]);

    public GgufBuilder Singles(string key, params float[] values) =>
        Array(key, 6, (ulong)values.Length, [.. values.SelectMany(value => Number(BitConverter.SingleToUInt32Bits(value), 4))]);

    public GgufBuilder Array(string key, uint elementType, ulong count, byte[] elements) =>
        Raw(key, 9, [.. Number(elementType, 4), .. Number(count, 8), .. elements]);

    /// <summary>A pair with any type number and any bytes.</summary>
    public GgufBuilder Raw(string key, uint type, byte[] value) => RawKey(Text(key), type, value);

    /// <summary>A pair whose key, too, is given as bytes, its length included.</summary>
    public GgufBuilder RawKey(byte[] key, uint type, byte[] value)
    {
        _pairs.Add((key, type, value));
        return this;
    }

    /// <summary>Drops every pair with this key.</summary>
    public GgufBuilder Without(string key)
    {
        byte[] text = Text(key);
        _pairs.RemoveAll(pair => pair.Key.AsSpan().SequenceEqual(text));
        return this;
    }

    /// <summary>A tensor of F32, filled with a ramp, placed where it belongs.</summary>
    public GgufBuilder Tensor(string name, params long[] dimensions) =>
        Tensor(new TensorRow(name, 0, dimensions) { Data = Ramp(dimensions.Aggregate(1L, (a, b) => a * b)) });

    public GgufBuilder Tensor(TensorRow tensor)
    {
        _tensors.Add(tensor);
        return this;
    }

    public GgufBuilder WithoutTensor(string name)
    {
        _tensors.RemoveAll(tensor => tensor.Name == name);
        return this;
    }

    /// <summary>Where the last <see cref="Build"/> wrote counts, lengths, types, dimensions, offsets and values.</summary>
    public List<(int Offset, int Bytes)> Fields { get; } = [];

    public byte[] Build()
    {
        var bytes = new List<byte>();
        Fields.Clear();
        Field(bytes, Number(Magic, 4));
        Field(bytes, Number(Version, 4));
        Field(bytes, Number(TensorCount ?? (ulong)_tensors.Count, 8));
        Field(bytes, Number(PairCount ?? (ulong)_pairs.Count, 8));
        foreach ((byte[] key, uint type, byte[] value) in _pairs)
        {
            Fields.Add((bytes.Count, 8));
            bytes.AddRange(key);
            Field(bytes, Number(type, 4));
            Fields.Add((bytes.Count, Math.Min(8, value.Length)));
            if (type == 9)
            {
                Fields.Add((bytes.Count, 4));
                Fields.Add((bytes.Count + 4, 8));
                Fields.Add((bytes.Count + 12, 8));
            }

            bytes.AddRange(value);
        }

        long next = 0;
        foreach (TensorRow tensor in _tensors)
        {
            Fields.Add((bytes.Count, 8));
            bytes.AddRange(tensor.RawName ?? Text(tensor.Name));
            Field(bytes, Number(tensor.DimensionCount ?? (uint)tensor.Dimensions.Length, 4));
            foreach (long dimension in tensor.Dimensions)
            {
                Field(bytes, Number((ulong)dimension, 8));
            }

            Field(bytes, Number(tensor.Type, 4));
            Field(bytes, Number(tensor.Offset ?? (ulong)next, 8));
            next += Padded(tensor.Data.Length);
        }

        if (_tensors.Count > 0)
        {
            Pad(bytes);
            foreach (TensorRow tensor in _tensors)
            {
                bytes.AddRange(tensor.Data);
                Pad(bytes);
            }
        }

        return [.. bytes];
    }

    /// <summary>Bytes from the start to the end of the tensor table.</summary>
    public int HeaderBytes() => 24
        + _pairs.Sum(pair => pair.Key.Length + 4 + pair.Value.Length)
        + _tensors.Sum(tensor => (tensor.RawName ?? Text(tensor.Name)).Length + 4 + (8 * tensor.Dimensions.Length) + 4 + 8);

    public static byte[] Text(string text) => [.. Number((ulong)Encoding.UTF8.GetByteCount(text), 8), .. Encoding.UTF8.GetBytes(text)];

    public static byte[] Number(ulong value, int bytes) => [.. Enumerable.Range(0, bytes).Select(i => (byte)(value >> (8 * i)))];

    public static byte[] Ramp(long count) =>
        [.. Enumerable.Range(0, (int)count).SelectMany(i => Number(BitConverter.SingleToUInt32Bits((i % 17) - 8), 4))];

    private void Field(List<byte> bytes, byte[] number)
    {
        Fields.Add((bytes.Count, number.Length));
        bytes.AddRange(number);
    }

    private void Pad(List<byte> bytes)
    {
        while (bytes.Count % Alignment != 0)
        {
            bytes.Add(0);
        }
    }

    private long Padded(long bytes) => (bytes + Alignment - 1) / Alignment * Alignment;

    internal sealed record TensorRow(string Name, uint Type, long[] Dimensions)
    {
        public byte[] Data { get; init; } = [];

        public ulong? Offset { get; init; }

        public uint? DimensionCount { get; init; }

        public byte[]? RawName { get; init; }
    }
}
