using System.Buffers;
using System.Buffers.Binary;

namespace E2LLM.Transfer.Codecs;

/// <summary>
/// The LZ4 block format (lz4_Block_format.md of the reference implementation), written from its description. Every index is checked, a match may
/// refer only to bytes written in the same call, and a block decodes to exactly the size asked for or not at all. Stateless; thread-safe.
/// </summary>
internal static class Lz4Block
{
    /// <summary>Shortest match; lengths in the token are counted from here.</summary>
    private const int MinMatch = 4;

    /// <summary>The format's end rules: a block ends with 5 literals, and no match starts within its last 12 bytes.</summary>
    private const int LastLiterals = 5, MatchLimit = 12;

    private const int MaxOffset = 65_535, HashBits = 14, LengthInToken = 15;

    /// <summary>Bytes of the longest block that so many source bytes can become.</summary>
    public static int MaxCompressedBytes(int sourceBytes) => checked(sourceBytes + (sourceBytes / 255) + 16);

    /// <summary>Compresses greedily: the last place with the same four bytes is taken as the match.</summary>
    /// <param name="source">What to compress.</param>
    /// <param name="destination">At least <see cref="MaxCompressedBytes"/>; does not overlap the source.</param>
    /// <returns>Bytes written.</returns>
    /// <exception cref="ArgumentException">The destination is too short.</exception>
    public static int Compress(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        if (destination.Length < MaxCompressedBytes(source.Length))
        {
            throw new ArgumentException($"Expected at least {MaxCompressedBytes(source.Length)} bytes, got {destination.Length}.", nameof(destination));
        }

        int[] table = ArrayPool<int>.Shared.Rent(1 << HashBits);
        try
        {
            // Positions are stored plus one, so that zero means that nothing was there.
            table.AsSpan(0, 1 << HashBits).Clear();
            return Compress(source, destination, table);
        }
        finally
        {
            ArrayPool<int>.Shared.Return(table);
        }
    }

    /// <summary>Decompresses a block that may come from anyone.</summary>
    /// <param name="source">The block.</param>
    /// <param name="destination">Exactly the size of the result.</param>
    /// <returns>Whether the block is well formed and fills the destination exactly; if not, the destination holds no bytes of others, but what was decoded.</returns>
    public static bool TryDecompress(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        int read = 0, written = 0;
        while (read < source.Length)
        {
            int token = source[read++], literals = token >> 4;
            if (!TryReadLength(source, ref read, ref literals, destination.Length - written) || literals > source.Length - read)
            {
                return false;
            }

            source.Slice(read, literals).CopyTo(destination[written..]);
            read += literals;
            written += literals;
            if (read == source.Length)
            {
                return written == destination.Length;
            }

            if (source.Length - read < sizeof(ushort) || destination.Length - written < MatchLimit)
            {
                return false;
            }

            int offset = BinaryPrimitives.ReadUInt16LittleEndian(source[read..]), length = token & LengthInToken;
            read += sizeof(ushort);
            int room = destination.Length - written - LastLiterals - MinMatch;
            if (offset == 0 || offset > written || !TryReadLength(source, ref read, ref length, room))
            {
                return false;
            }

            length += MinMatch;
            CopyMatch(destination, written, offset, length);
            written += length;
        }

        return false;
    }

    private static int Compress(ReadOnlySpan<byte> source, Span<byte> destination, int[] table)
    {
        int anchor = 0, at = 0, written = 0, lastStart = source.Length - MatchLimit;
        while (at <= lastStart)
        {
            uint word = BinaryPrimitives.ReadUInt32LittleEndian(source[at..]);
            ref int entry = ref table[Hash(word)];
            int candidate = entry - 1;
            entry = at + 1;
            if (candidate < 0 || at - candidate > MaxOffset || BinaryPrimitives.ReadUInt32LittleEndian(source[candidate..]) != word)
            {
                // The longer nothing was found, the larger the steps: incompressible bytes pass quickly.
                at += 1 + ((at - anchor) >> 6);
                continue;
            }

            while (at > anchor && candidate > 0 && source[at - 1] == source[candidate - 1])
            {
                at--;
                candidate--;
            }

            int end = source.Length - LastLiterals;
            int length = MinMatch + source[(at + MinMatch)..end].CommonPrefixLength(source[(candidate + MinMatch)..]);
            written += WriteSequence(source[anchor..at], at - candidate, length, destination[written..]);
            at += length;
            anchor = at;
            if (at <= lastStart)
            {
                table[Hash(BinaryPrimitives.ReadUInt32LittleEndian(source[(at - 2)..]))] = at - 1;
            }
        }

        return written + WriteLiterals(source[anchor..], 0, destination[written..]);
    }

    private static int Hash(uint word) => (int)((word * 2_654_435_761u) >> (32 - HashBits));

    private static int WriteSequence(ReadOnlySpan<byte> literals, int offset, int length, Span<byte> destination)
    {
        int extra = length - MinMatch;
        int written = WriteLiterals(literals, Math.Min(extra, LengthInToken), destination);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[written..], (ushort)offset);
        written += sizeof(ushort);
        return extra < LengthInToken ? written : written + WriteLength(extra - LengthInToken, destination[written..]);
    }

    /// <summary>Token, length of the literals, literals. The lower half of the token is the match's.</summary>
    private static int WriteLiterals(ReadOnlySpan<byte> literals, int matchPart, Span<byte> destination)
    {
        int written = 1;
        destination[0] = (byte)((Math.Min(literals.Length, LengthInToken) << 4) | matchPart);
        if (literals.Length >= LengthInToken)
        {
            written += WriteLength(literals.Length - LengthInToken, destination[1..]);
        }

        literals.CopyTo(destination[written..]);
        return written + literals.Length;
    }

    private static int WriteLength(int rest, Span<byte> destination)
    {
        int written = 0;
        for (; rest >= byte.MaxValue; rest -= byte.MaxValue)
        {
            destination[written++] = byte.MaxValue;
        }

        destination[written++] = (byte)rest;
        return written;
    }

    /// <summary>Adds the bytes that continue a length of 15. Stops as soon as it exceeds <paramref name="most"/>, so a run of 255s cannot overflow.</summary>
    private static bool TryReadLength(ReadOnlySpan<byte> source, ref int read, ref int length, int most)
    {
        if (length == LengthInToken)
        {
            byte more;
            do
            {
                if (read >= source.Length || length > most)
                {
                    return false;
                }

                more = source[read++];
                length += more;
            }
            while (more == byte.MaxValue);
        }

        return length <= most;
    }

    /// <summary>Copies what lies <paramref name="offset"/> bytes back; where the match overlaps itself, the pattern doubles with each copy.</summary>
    private static void CopyMatch(Span<byte> bytes, int at, int offset, int length)
    {
        int start = at - offset;
        for (int done = 0; done < length;)
        {
            int count = Math.Min(offset + done, length - done);
            bytes.Slice(start, count).CopyTo(bytes[(at + done)..]);
            done += count;
        }
    }
}
