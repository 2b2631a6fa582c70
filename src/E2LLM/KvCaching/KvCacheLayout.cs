namespace E2LLM.KvCaching;

/// <summary>
/// What a KV cache holds for each position, and how many bytes that takes. Immutable; safe to share between threads.
/// </summary>
/// <param name="Layers">The layers whose keys and values are kept.</param>
/// <param name="KvHeadCount">Key/value heads per layer.</param>
/// <param name="HeadDim">Elements of one head.</param>
/// <param name="ElementType">How an element is stored. <see cref="KvElementType.Q8_0"/> needs a <paramref name="HeadDim"/> that is a multiple of 32.</param>
/// <param name="BlockTokenCount">Positions per block; only <see cref="DefaultBlockTokenCount"/> is supported.</param>
/// <remarks>
/// Inside a block, one layer after another, each layer head by head, a head as keys then values. Keys lie transposed, so that neighbouring positions of one
/// element fill a vector: <c>[headDim][position]</c>. Values lie <c>[position][storedHeadDim]</c>, the head padded with
/// zeros to a multiple of 16 elements. Q8_0 appends its half-precision scales to each half: <c>[headDim / 32][position]</c> for keys,
/// <c>[position][headDim / 32]</c> for values. This inner layout may change; the canonical order of <see cref="KvCache.ReadKeys"/> does not.
/// </remarks>
public sealed record KvCacheLayout(
    LayerRange Layers, int KvHeadCount, int HeadDim, KvElementType ElementType, int BlockTokenCount = KvCacheLayout.DefaultBlockTokenCount)
{
    /// <summary>Positions in a block: attention reduces over blocks of this size, so it is part of the numerics and fixed.</summary>
    public const int DefaultBlockTokenCount = 64;

    /// <summary>Elements that share one scale in <see cref="KvElementType.Q8_0"/>.</summary>
    internal const int QuantizedBlockElementCount = 32;

    private const int HeadDimPadding = 16;

    /// <summary>Bytes of the keys (or of the values) of one position in one layer, in canonical order without padding.</summary>
    public int TokenBytes => checked(KvHeadCount * HeadBytes(ElementType, HeadDim));

    /// <summary>Bytes that one block of <see cref="BlockTokenCount"/> positions takes in memory over all layers, padding included.</summary>
    public long BlockBytes => checked(Layers.Count * LayerBytes);

    /// <summary>Elements of a stored value head: <see cref="HeadDim"/> rounded up to a multiple of 16.</summary>
    internal int StoredHeadDim => (HeadDim + HeadDimPadding - 1) / HeadDimPadding * HeadDimPadding;

    internal int ElementBytes => ElementType switch
    {
        KvElementType.F32 => sizeof(float),
        KvElementType.F16 or KvElementType.BF16 => sizeof(ushort),
        KvElementType.Q8_0 => sizeof(sbyte),
        _ => throw new NotSupportedException($"KV element type {(int)ElementType} is not supported. Known: {string.Join(", ", Enum.GetNames<KvElementType>())}."),
    };

    /// <summary>Scales of one head of one position.</summary>
    internal int HeadScaleCount => ElementType == KvElementType.Q8_0 ? HeadDim / QuantizedBlockElementCount : 0;

    internal long KeyHeadBytes => (long)HeadDim * BlockTokenCount * ElementBytes;

    internal long ValueHeadBytes => (long)StoredHeadDim * BlockTokenCount * ElementBytes;

    internal long ScaleHeadBytes => (long)HeadScaleCount * BlockTokenCount * sizeof(ushort);

    /// <summary>Keys of a head in one layer of one block. Its values follow at once: attention reads one after the other.</summary>
    internal long KeysOffset(int head) => head * ((2 * ScaleHeadBytes) + KeyHeadBytes + ValueHeadBytes);

    internal long KeyScalesOffset(int head) => KeysOffset(head) + KeyHeadBytes;

    internal long ValuesOffset(int head) => KeyScalesOffset(head) + ScaleHeadBytes;

    internal long ValueScalesOffset(int head) => ValuesOffset(head) + ValueHeadBytes;

    /// <summary>Bytes of one layer of one block, a multiple of 64 as every part of it, so that all start on a cache line.</summary>
    internal long LayerBytes => KeysOffset(KvHeadCount);

    /// <summary>Bytes of the keys and values of one position over all layers, in canonical order without padding.</summary>
    public long PositionBytes => checked(2L * Layers.Count * TokenBytes);

    /// <summary>Checks the numbers against each other.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A count is below one.</exception>
    /// <exception cref="NotSupportedException">The block size, the element type or the head width is not supported.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(KvHeadCount, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(HeadDim, 1);
        if (BlockTokenCount != DefaultBlockTokenCount)
        {
            throw new NotSupportedException($"KV blocks of {BlockTokenCount} positions are not supported; supported: {DefaultBlockTokenCount}.");
        }

        if (ElementType == KvElementType.Q8_0 && HeadDim % QuantizedBlockElementCount != 0)
        {
            throw new NotSupportedException($"A Q8_0 KV cache needs a head width that is a multiple of 32; this model's is {HeadDim}. Supported here: F32, F16, BF16.");
        }

        _ = BlockBytes;
        _ = ElementBytes;
    }

    private static int HeadBytes(KvElementType type, int headDim) => type switch
    {
        KvElementType.F32 => checked(headDim * sizeof(float)),
        KvElementType.F16 or KvElementType.BF16 => checked(headDim * sizeof(ushort)),
        KvElementType.Q8_0 => checked(headDim / QuantizedBlockElementCount * (sizeof(ushort) + QuantizedBlockElementCount)),
        _ => throw new NotSupportedException($"KV element type {(int)type} is not supported. Known: {string.Join(", ", Enum.GetNames<KvElementType>())}."),
    };
}
