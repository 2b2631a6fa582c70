namespace E2LLM.Transfer;

/// <summary>
/// Turns the raw bytes of one KV slice into fewer bytes and back. Small on purpose, so that a compressor of another library can stand in
/// with a few lines. Implementations are stateless and thread-safe: several slices are coded at once.
/// </summary>
public interface IKvBlockCodec
{
    /// <summary>Number on the wire. 0 to 127 belong to this library; take 128 to 255 for your own, the same on every machine.</summary>
    byte Id { get; }

    /// <summary>Name for messages and reports.</summary>
    string Name { get; }

    /// <summary>Whether decoding gives back every bit; the receiver then also checks a checksum of the decoded bytes.</summary>
    bool IsLossless { get; }

    /// <summary>Bytes that <see cref="Encode"/> needs at most for a slice of this shape.</summary>
    int MaxCodedBytes(in KvBlockShape shape);

    /// <summary>Codes a slice.</summary>
    /// <param name="shape">What the bytes are; <paramref name="raw"/> has <see cref="KvBlockShape.RawBytes"/>.</param>
    /// <param name="raw">The slice's bytes, little-endian.</param>
    /// <param name="coded">At least <see cref="MaxCodedBytes"/>; does not overlap <paramref name="raw"/>.</param>
    /// <returns>Bytes written, or -1 where this codec has nothing to offer for the slice: it is sent raw then.</returns>
    int Encode(in KvBlockShape shape, ReadOnlySpan<byte> raw, Span<byte> coded);

    /// <summary>Decodes a slice. The bytes come from a peer: trust nothing in them, throw nothing.</summary>
    /// <param name="shape">What the result is.</param>
    /// <param name="coded">What the peer sent.</param>
    /// <param name="raw">Exactly <see cref="KvBlockShape.RawBytes"/>; every byte is to be written.</param>
    /// <returns>Whether <paramref name="coded"/> was well formed and filled <paramref name="raw"/> exactly.</returns>
    bool TryDecode(in KvBlockShape shape, ReadOnlySpan<byte> coded, Span<byte> raw);
}
