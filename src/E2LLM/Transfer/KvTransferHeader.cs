using E2LLM.KvCaching;

namespace E2LLM.Transfer;

/// <summary>What a KV message says about itself before its slices: whose keys and values they are and which. Immutable; thread-safe.</summary>
public sealed record KvTransferHeader
{
    /// <summary>Ties the slices of one message together; chosen by the sender, unique among the messages of a connection.</summary>
    public required ulong TransferId { get; init; }

    /// <summary><see cref="ModelIdentity.Hash"/> of the model that computed them.</summary>
    public required ReadOnlyMemory<byte> ModelHash { get; init; }

    /// <summary>
    /// SHA-256 over the token ids of positions <c>[0, FirstPosition + PositionCount)</c>, each as a little-endian 32-bit number
    /// (<see cref="TokenHash"/>): keys and values of other tokens are never taken for these.
    /// </summary>
    public required ReadOnlyMemory<byte> TokenPrefixHash { get; init; }

    /// <summary>Layers in the message.</summary>
    public required LayerRange Layers { get; init; }

    /// <summary>First position in the message.</summary>
    public required int FirstPosition { get; init; }

    /// <summary>Positions in the message, at least one.</summary>
    public required int PositionCount { get; init; }

    /// <summary>Key/value heads per layer.</summary>
    public required int KvHeadCount { get; init; }

    /// <summary>Elements of one head.</summary>
    public required int HeadDim { get; init; }

    /// <summary>How an element is stored.</summary>
    public required KvElementType ElementType { get; init; }

    /// <summary>Bytes of keys and values over all layers and positions, uncoded.</summary>
    public long RawBytes => checked(2L * Layers.Count * PositionCount * Layout.TokenBytes);

    internal KvCacheLayout Layout => new(Layers, KvHeadCount, HeadDim, ElementType);

    /// <summary>The hash for <see cref="TokenPrefixHash"/>.</summary>
    /// <param name="tokens">All token ids from position zero on.</param>
    public static byte[] TokenHash(ReadOnlySpan<int> tokens)
    {
        using var hash = System.Security.Cryptography.IncrementalHash.CreateHash(System.Security.Cryptography.HashAlgorithmName.SHA256);
        Span<byte> word = stackalloc byte[sizeof(int)];
        foreach (int token in tokens)
        {
            System.Buffers.Binary.BinaryPrimitives.WriteInt32LittleEndian(word, token);
            hash.AppendData(word);
        }

        return hash.GetHashAndReset();
    }

    /// <summary>Describes positions <c>[firstPosition, firstPosition + positionCount)</c> of a cache.</summary>
    /// <param name="transferId">Number of the message.</param>
    /// <param name="model">Model that computed the cache.</param>
    /// <param name="tokens">Token ids from position zero up to the end of the range.</param>
    /// <param name="layout">Layout of the cache.</param>
    /// <param name="firstPosition">First position of the range.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range is empty or negative.</exception>
    public static KvTransferHeader For(ulong transferId, ModelIdentity model, ReadOnlySpan<int> tokens, KvCacheLayout layout, int firstPosition = 0)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(layout);
        ArgumentOutOfRangeException.ThrowIfNegative(firstPosition);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(firstPosition, tokens.Length);
        return new KvTransferHeader
        {
            TransferId = transferId,
            ModelHash = model.Hash,
            TokenPrefixHash = TokenHash(tokens),
            Layers = layout.Layers,
            FirstPosition = firstPosition,
            PositionCount = tokens.Length - firstPosition,
            KvHeadCount = layout.KvHeadCount,
            HeadDim = layout.HeadDim,
            ElementType = layout.ElementType,
        };
    }
}
