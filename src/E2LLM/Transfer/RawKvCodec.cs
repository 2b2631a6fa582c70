namespace E2LLM.Transfer;

/// <summary>The codec that leaves bytes as they are, id 0. Every receiver has it. Stateless; thread-safe.</summary>
public sealed class RawKvCodec : IKvBlockCodec
{
    /// <summary>Number of the raw codec on the wire.</summary>
    public const byte RawId = 0;

    private RawKvCodec()
    {
    }

    /// <summary>The one instance.</summary>
    public static RawKvCodec Instance { get; } = new();

    /// <inheritdoc/>
    public byte Id => RawId;

    /// <inheritdoc/>
    public string Name => "raw";

    /// <inheritdoc/>
    public bool IsLossless => true;

    /// <inheritdoc/>
    public int MaxCodedBytes(in KvBlockShape shape) => checked((int)shape.RawBytes);

    /// <inheritdoc/>
    public int Encode(in KvBlockShape shape, ReadOnlySpan<byte> raw, Span<byte> coded)
    {
        raw.CopyTo(coded);
        return raw.Length;
    }

    /// <inheritdoc/>
    public bool TryDecode(in KvBlockShape shape, ReadOnlySpan<byte> coded, Span<byte> raw)
    {
        if (coded.Length != raw.Length)
        {
            return false;
        }

        coded.CopyTo(raw);
        return true;
    }
}
