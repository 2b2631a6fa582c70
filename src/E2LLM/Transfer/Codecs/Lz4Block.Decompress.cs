using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Transfer.Codecs;

/// <content>
/// Decompression. Every length and offset is checked before it is used; a match may refer only to bytes written in the same call, and a block decodes to exactly the size asked for or not at
/// all. A quick loop takes sequence after sequence while at least <see cref="ReadMargin"/> and <see cref="WriteMargin"/> bytes remain, and copies in whole vectors there: these may write beyond
/// what is meant, but never beyond the destination, and what they write there is written again before success is reported. What the quick loop does not want, <see cref="TryOne"/> does with care.
/// </content>
internal static unsafe partial class Lz4Block
{
    /// <summary>Bytes of a block that a short sequence looks at: token, a vector of literals, offset.</summary>
    private const int ReadMargin = 32;

    /// <summary>Bytes that a short sequence may write, with what its last vector writes too much, and the last literals.</summary>
    private const int WriteMargin = 64;

    /// <summary>For each offset below 16, which of the bytes from there on each byte of a vector repeats.</summary>
    private static readonly Vector128<byte>[] s_repeats =
        [.. Enumerable.Range(0, Vector128<byte>.Count).Select(offset => Vector128.Create([.. Enumerable.Range(0, Vector128<byte>.Count).Select(i => (byte)(i % Math.Max(offset, 1)))]))];

    /// <summary>Decompresses a block that may come from anyone.</summary>
    /// <param name="source">The block.</param>
    /// <param name="destination">Exactly the size of the result.</param>
    /// <returns>Whether the block is well formed and fills the destination exactly; if not, the destination holds no bytes of others, but what was decoded.</returns>
    public static bool TryDecompress(ReadOnlySpan<byte> source, Span<byte> destination)
    {
        fixed (byte* from = source, to = destination)
        {
            return TryDecompress(from, from + source.Length, to, to + destination.Length);
        }
    }

    private static bool TryDecompress(byte* read, byte* readEnd, byte* start, byte* end)
    {
        byte* write = start;
        while (read < readEnd)
        {
            // Also keeps both limits from wrapping where there is no destination at all.
            if (readEnd - read > ReadMargin && end - write > WriteMargin)
            {
                DecompressQuickly(ref read, readEnd - ReadMargin, ref write, start, end - WriteMargin);
            }

            if (!TryOne(ref read, readEnd, ref write, start, end))
            {
                return false;
            }

            if (read == readEnd)
            {
                return write == end;
            }
        }

        return false;
    }

    /// <summary>Takes sequences until one is too close to an end, or wrong: nothing of that one is taken.</summary>
    /// <param name="reading">Where the next sequence begins.</param>
    /// <param name="readLimit"><see cref="ReadMargin"/> before the end of the block.</param>
    /// <param name="writing">Where its bytes go.</param>
    /// <param name="start">First byte written by this block.</param>
    /// <param name="writeLimit"><see cref="WriteMargin"/> before the end of the destination.</param>
    private static void DecompressQuickly(ref byte* reading, byte* readLimit, ref byte* writing, byte* start, byte* writeLimit)
    {
        byte* read = reading, write = writing;
        while (read < readLimit && write < writeLimit)
        {
            // Where this sequence is left to others, they find it as it was.
            reading = read;
            writing = write;
            nint token = *read++, literals = token >> 4, length = (token & LengthInToken) + MinMatch;
            if (literals == LengthInToken)
            {
                if (!TryExtend(ref read, readLimit, ref literals) || literals > readLimit - read || literals > writeLimit - write)
                {
                    return;
                }

                Copy32s(read, write, write + literals);
            }
            else
            {
                Copy16(read, write);
            }

            read += literals;
            write += literals;
            nint offset = BinaryPrimitives.ReadUInt16LittleEndian(new ReadOnlySpan<byte>(read, sizeof(ushort)));
            read += sizeof(ushort);
            byte* match = write - offset;
            if (match < start)
            {
                return;
            }

            if (length == LengthInToken + MinMatch)
            {
                if (!TryExtend(ref read, readLimit, ref length) || length > writeLimit - write)
                {
                    return;
                }
            }
            else if (offset >= Vector128<byte>.Count)
            {
                // At most 18 bytes.
                Copy16(match, write);
                Unsafe.WriteUnaligned(write + 16, Unsafe.ReadUnaligned<ushort>(match + 16));
                write += length;
                continue;
            }

            byte* target = write + length;
            if (offset >= Vector256<byte>.Count)
            {
                Copy32s(match, write, target);
            }
            else if (offset >= Vector128<byte>.Count)
            {
                do
                {
                    Copy16(match, write);
                    match += Vector128<byte>.Count;
                    write += Vector128<byte>.Count;
                }
                while (write < target);
            }
            else if (offset > 0)
            {
                Repeat(match, (int)offset, write, target);
            }
            else
            {
                return;
            }

            write = target;
        }

        reading = read;
        writing = write;
    }

    /// <summary>Takes one sequence, or the literals that end the block. All that is read, moved or written lies inside, to the byte.</summary>
    private static bool TryOne(ref byte* read, byte* readEnd, ref byte* write, byte* start, byte* end)
    {
        int token = *read++;
        nint literals = token >> 4, length = (token & LengthInToken) + MinMatch;
        if ((literals == LengthInToken && !TryExtend(ref read, readEnd, ref literals)) || literals > readEnd - read || literals > end - write)
        {
            return false;
        }

        Buffer.MemoryCopy(read, write, end - write, literals);
        read += literals;
        write += literals;
        if (read == readEnd)
        {
            return true;
        }

        if (readEnd - read < sizeof(ushort) || end - write < MatchLimit)
        {
            return false;
        }

        int offset = read[0] | (read[1] << 8);
        read += sizeof(ushort);
        if (offset == 0 || offset > write - start || (length == LengthInToken + MinMatch && !TryExtend(ref read, readEnd, ref length)) || length > end - write - LastLiterals)
        {
            return false;
        }

        for (byte* target = write + length; write < target; write++)
        {
            *write = write[-offset];
        }

        // Literals must follow: a block does not end with a match.
        return read < readEnd;
    }

    /// <summary>Adds the bytes that continue a length of 15. A length is at most 255 times what is read, so it cannot overflow.</summary>
    private static bool TryExtend(ref byte* read, byte* readEnd, ref nint length)
    {
        byte more;
        do
        {
            if (read >= readEnd)
            {
                return false;
            }

            more = *read++;
            length += more;
        }
        while (more == byte.MaxValue);
        return true;
    }

    /// <summary>Writes the <paramref name="offset"/> bytes (1 to 15) before <paramref name="write"/> again and again up to <paramref name="target"/>, and up to 16 more.</summary>
    private static void Repeat(byte* match, int offset, byte* write, byte* target)
    {
        // 16 bytes of the pattern; behind as many of its whole lengths as they hold they would begin anew.
        Vector128<byte> pattern = Vector128.ShuffleNative(Vector128.Load(match), s_repeats[offset]);
        int step = Vector128<byte>.Count / offset * offset;
        do
        {
            pattern.Store(write);
            write += step;
        }
        while (write < target);
    }

    /// <summary>Copies up to <paramref name="target"/>, and up to 31 bytes more.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy32s(byte* from, byte* to, byte* target)
    {
        do
        {
            Vector256.Load(from).Store(to);
            from += Vector256<byte>.Count;
            to += Vector256<byte>.Count;
        }
        while (to < target);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy16(byte* from, byte* to) => Vector128.Load(from).Store(to);
}
