using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;

namespace E2LLM.Transfer.Codecs;

/// <summary>
/// The LZ4 block format (lz4_Block_format.md of the reference implementation), written from its description. Stateless; thread-safe.
/// </summary>
/// <remarks>Compresses greedily: of all places with the same five bytes, the last one that a small table remembers is the match.</remarks>
internal static unsafe partial class Lz4Block
{
    /// <summary>Shortest match; lengths in the token are counted from here.</summary>
    private const int MinMatch = 4;

    /// <summary>The format's end rules: a block ends with 5 literals, and no match starts within its last 12 bytes.</summary>
    private const int LastLiterals = 5, MatchLimit = 12;

    private const int MaxOffset = 65_535, LengthInToken = 15;

    /// <summary>16 KiB of positions: they stay in the nearest cache.</summary>
    private const int HashBits = 12;

    /// <summary>After so many steps (as a power of two) without a match the steps grow by one: incompressible bytes pass quickly.</summary>
    private const int PatienceBits = 6;

    /// <summary>Bytes of the longest block that so many source bytes can become.</summary>
    public static int MaxCompressedBytes(int sourceBytes) => checked(sourceBytes + (sourceBytes / 255) + 16);

    /// <summary>Compresses a block.</summary>
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

        fixed (byte* from = source, to = destination)
        {
            return (int)(Compress(from, source.Length, to) - to);
        }
    }

    [SkipLocalsInit]
    private static byte* Compress(byte* source, int length, byte* output)
    {
        byte* end = source + length, anchor = source, at = source;

        // Neither a match nor the eight bytes that are hashed start behind here.
        byte* lastStart = end - MatchLimit;
        if (length > MatchLimit)
        {
            uint* table = stackalloc uint[1 << HashBits];
            new Span<uint>(table, 1 << HashBits).Clear();

            // Position 0 is what an empty entry says too; being at it, nothing is found there.
            at++;
            byte* match;
            while ((match = FindMatch(table, source, ref at, lastStart)) is not null)
            {
                while (at > anchor && match > source && at[-1] == match[-1])
                {
                    at--;
                    match--;
                }

                output = WriteLiterals(anchor, (int)(at - anchor), output, out byte* token);
                for (; ;)
                {
                    int extra = CommonBytes(at + MinMatch, match + MinMatch, end - LastLiterals);
                    output = WriteMatch((int)(at - match), extra, output, token);
                    at += MinMatch + extra;
                    anchor = at;
                    if (at > lastStart)
                    {
                        break;
                    }

                    // What follows a match often matches too: tried at once, then there are no literals between the two.
                    table[Hash(at - 2)] = (uint)(at - 2 - source);
                    match = Exchange(table, source, at);
                    if (!IsMatch(match, at))
                    {
                        at++;
                        break;
                    }

                    token = output;
                    *output++ = 0;
                }
            }
        }

        int rest = (int)(end - anchor);
        output = WriteLength(rest, output + 1, output, 4);
        Buffer.MemoryCopy(anchor, output, rest, rest);
        return output + rest;
    }

    /// <summary>Goes on until four bytes equal those at an earlier place. Null at the end.</summary>
    private static byte* FindMatch(uint* table, byte* source, ref byte* at, byte* lastStart)
    {
        byte* p = at;
        for (int steps = 1 << PatienceBits; p <= lastStart; p += steps++ >> PatienceBits)
        {
            byte* match = Exchange(table, source, p);
            if (IsMatch(match, p))
            {
                at = p;
                return match;
            }
        }

        return null;
    }

    /// <summary>The last place that had this hash, which is this place from now on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static byte* Exchange(uint* table, byte* source, byte* at)
    {
        uint* entry = table + Hash(at);
        byte* match = source + *entry;
        *entry = (uint)(at - source);
        return match;
    }

    private static bool IsMatch(byte* match, byte* at) =>
        at - match <= MaxOffset && Unsafe.ReadUnaligned<uint>(match) == Unsafe.ReadUnaligned<uint>(at);

    /// <summary>A multiplicative hash of five bytes.</summary>
    private static uint Hash(byte* at) => (uint)(((Unsafe.ReadUnaligned<ulong>(at) << 24) * 0x9E37_79B9_7F4A_7C15ul) >> (64 - HashBits));

    /// <summary>Bytes that are equal from both places on, not beyond <paramref name="end"/>, which lies 5 bytes before the end of the source.</summary>
    private static int CommonBytes(byte* at, byte* match, byte* end)
    {
        byte* start = at;
        while (at <= end - sizeof(ulong))
        {
            ulong difference = Unsafe.ReadUnaligned<ulong>(at) ^ Unsafe.ReadUnaligned<ulong>(match);
            if (difference != 0)
            {
                int equal = BitConverter.IsLittleEndian ? BitOperations.TrailingZeroCount(difference) : BitOperations.LeadingZeroCount(difference);
                return (int)(at - start) + (equal >> 3);
            }

            at += sizeof(ulong);
            match += sizeof(ulong);
        }

        while (at < end && *at == *match)
        {
            at++;
            match++;
        }

        return (int)(at - start);
    }

    /// <summary>Token, length of the literals, literals. The lower half of the token is left to the match.</summary>
    private static byte* WriteLiterals(byte* literals, int count, byte* output, out byte* token)
    {
        token = output;
        output = WriteLength(count, output + 1, output, 4);
        if (count > 4 * sizeof(ulong))
        {
            Buffer.MemoryCopy(literals, output, count, count);
            return output + count;
        }

        // In whole words: a match follows, so at least 12 more bytes of the source and some of the output are there.
        for (int i = 0; i < count; i += sizeof(ulong))
        {
            Unsafe.WriteUnaligned(output + i, Unsafe.ReadUnaligned<ulong>(literals + i));
        }

        return output + count;
    }

    private static byte* WriteMatch(int offset, int extra, byte* output, byte* token)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(new Span<byte>(output, sizeof(ushort)), (ushort)offset);
        return WriteLength(extra, output + sizeof(ushort), token, 0);
    }

    /// <summary>A length: up to 14 in four bits of the token, at <paramref name="shift"/> (the literals' overwrite the token, they come first), the rest in bytes of up to 255.</summary>
    private static byte* WriteLength(int length, byte* output, byte* token, int shift)
    {
        int before = shift == 0 ? *token : 0;
        if (length < LengthInToken)
        {
            *token = (byte)(before | (length << shift));
            return output;
        }

        *token = (byte)(before | (LengthInToken << shift));
        for (length -= LengthInToken; length >= byte.MaxValue; length -= byte.MaxValue)
        {
            *output++ = byte.MaxValue;
        }

        *output++ = (byte)length;
        return output;
    }
}
