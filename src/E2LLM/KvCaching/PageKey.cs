using System.Buffers.Binary;
using System.Security.Cryptography;

namespace E2LLM.KvCaching;

/// <summary>
/// Says which tokens a page of 64 positions stands for: a SHA-256 over the key of the page before it and the page's token ids. Two pages have one key only
/// where all tokens from position zero on are the same, in whatever process. Immutable; thread-safe.
/// </summary>
/// <remarks><c>key[i] = SHA-256(key[i - 1] || ids of the page, each as a little-endian 32-bit number)</c>, with 32 zero bytes for <c>key[-1]</c>.</remarks>
internal readonly record struct PageKey(ulong A, ulong B, ulong C, ulong D)
{
    /// <summary>Bytes of a key.</summary>
    public const int ByteCount = 32;

    /// <summary>Positions of a page: a block of the KV cache.</summary>
    public const int TokenCount = KvCacheLayout.DefaultBlockTokenCount;

    /// <summary>The key of the page that follows this one; <c>default</c> stands before the first page.</summary>
    /// <param name="tokens">The page's token ids, <see cref="TokenCount"/> of them.</param>
    public PageKey Next(ReadOnlySpan<int> tokens)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(tokens.Length, TokenCount);
        Span<byte> bytes = stackalloc byte[ByteCount + (TokenCount * sizeof(int))], hash = stackalloc byte[ByteCount];
        Write(bytes);
        for (int i = 0; i < tokens.Length; i++)
        {
            BinaryPrimitives.WriteInt32LittleEndian(bytes[(ByteCount + (i * sizeof(int)))..], tokens[i]);
        }

        SHA256.HashData(bytes, hash);
        return Read(hash);
    }

    /// <summary>Appends to <paramref name="keys"/> those of the whole pages of <paramref name="tokens"/> that it lacks.</summary>
    /// <param name="keys">Keys of the first pages.</param>
    /// <param name="tokens">All token ids from position zero on.</param>
    public static void Extend(List<PageKey> keys, IReadOnlyList<int> tokens)
    {
        Span<int> page = stackalloc int[TokenCount];
        while ((keys.Count + 1) * TokenCount <= tokens.Count)
        {
            for (int i = 0; i < TokenCount; i++)
            {
                page[i] = tokens[(keys.Count * TokenCount) + i];
            }

            keys.Add((keys.Count > 0 ? keys[^1] : default).Next(page));
        }
    }

    /// <summary>Writes the <see cref="ByteCount"/> bytes of the key.</summary>
    public void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt64BigEndian(destination, A);
        BinaryPrimitives.WriteUInt64BigEndian(destination[8..], B);
        BinaryPrimitives.WriteUInt64BigEndian(destination[16..], C);
        BinaryPrimitives.WriteUInt64BigEndian(destination[24..], D);
    }

    /// <summary>Reads what <see cref="Write"/> wrote.</summary>
    public static PageKey Read(ReadOnlySpan<byte> source) => new(
        BinaryPrimitives.ReadUInt64BigEndian(source), BinaryPrimitives.ReadUInt64BigEndian(source[8..]),
        BinaryPrimitives.ReadUInt64BigEndian(source[16..]), BinaryPrimitives.ReadUInt64BigEndian(source[24..]));
}
