namespace E2LLM.Transfer.Codecs;

/// <summary>
/// LZ4 block over a slice as it is, id 1. Gains only on repeats and zeros; keys and values of real text hardly have any (see
/// <see cref="BytePlaneLz4KvCodec"/>). Lossless. Stateless; thread-safe.
/// </summary>
public sealed class Lz4KvCodec : IKvBlockCodec
{
    private Lz4KvCodec()
    {
    }

    /// <summary>The one instance.</summary>
    public static Lz4KvCodec Instance { get; } = new();

    /// <inheritdoc/>
    public byte Id => 1;

    /// <inheritdoc/>
    public string Name => "lz4";

    /// <inheritdoc/>
    public bool IsLossless => true;

    /// <inheritdoc/>
    public int MaxCodedBytes(in KvBlockShape shape) => Lz4Block.MaxCompressedBytes(checked((int)shape.RawBytes));

    /// <inheritdoc/>
    public int Encode(in KvBlockShape shape, ReadOnlySpan<byte> raw, Span<byte> coded) => Lz4Block.Compress(raw, coded);

    /// <inheritdoc/>
    public bool TryDecode(in KvBlockShape shape, ReadOnlySpan<byte> coded, Span<byte> raw) => Lz4Block.TryDecompress(coded, raw);
}
