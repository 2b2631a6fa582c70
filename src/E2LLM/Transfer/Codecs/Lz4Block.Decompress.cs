using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace E2LLM.Transfer.Codecs;

/// <content>
/// Decompression. Every length and offset is checked before it is used; a match may refer only to bytes written in the same call, and a block decodes to exactly the size asked for or not at
/// all. Copies go in whole vectors where at least <see cref="Margin"/> bytes remain on both sides, so they may write beyond what is meant, but never beyond the destination, and what they
/// write there is written again before success is reported.
/// </content>
internal static unsafe partial class Lz4Block
{
    /// <summary>A token with short lengths moves at most 14 literals and 18 bytes of match, in whole words, and leaves the last literals.</summary>
    private const int Margin = 64;

    /// <summary>Up to here a loop over vectors is quicker than calling the general copy.</summary>
    private const int FewLiterals = 128;

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
            int token = *read++;
            long literals = token >> 4, length = token & LengthInToken;
            if (literals < LengthInToken && readEnd - read >= Margin && end - write >= Margin)
            {
                Copy16(read, write);
                read += literals;
                write += literals;
            }
            else
            {
                if (!TryReadLength(ref read, readEnd, ref literals, end - write) || literals > readEnd - read)
                {
                    return false;
                }

                bool isInside = readEnd - read - literals >= Margin && end - write - literals >= Margin;
                if (isInside && literals <= FewLiterals)
                {
                    Copy16(read, write);
                    for (int i = Vector128<byte>.Count; i < literals; i += Vector128<byte>.Count)
                    {
                        Copy16(read + i, write + i);
                    }
                }
                else
                {
                    Buffer.MemoryCopy(read, write, end - write, literals);
                }

                read += literals;
                write += literals;
                if (read == readEnd)
                {
                    return write == end;
                }

                if (!isInside && (readEnd - read < sizeof(ushort) || end - write < MatchLimit))
                {
                    return false;
                }
            }

            int offset = BinaryPrimitives.ReadUInt16LittleEndian(new ReadOnlySpan<byte>(read, sizeof(ushort)));
            read += sizeof(ushort);
            if ((ulong)(offset - 1L) >= (ulong)(write - start))
            {
                return false;
            }

            if (length < LengthInToken && offset >= sizeof(ulong) && end - write >= Margin / 2)
            {
                byte* match = write - offset;
                Unsafe.WriteUnaligned(write, Unsafe.ReadUnaligned<ulong>(match));
                Unsafe.WriteUnaligned(write + 8, Unsafe.ReadUnaligned<ulong>(match + 8));
                Unsafe.WriteUnaligned(write + 16, Unsafe.ReadUnaligned<ushort>(match + 16));
                write += MinMatch + length;
                continue;
            }

            if (!TryReadLength(ref read, readEnd, ref length, end - write - LastLiterals - MinMatch))
            {
                return false;
            }

            CopyMatch(write, offset, MinMatch + length, end);
            write += MinMatch + length;
        }

        return false;
    }

    /// <summary>Adds the bytes that continue a length of 15. Stops as soon as it exceeds <paramref name="most"/>, so a run of 255s cannot overflow.</summary>
    private static bool TryReadLength(ref byte* read, byte* readEnd, ref long length, long most)
    {
        if (length == LengthInToken)
        {
            byte more;
            do
            {
                if (read >= readEnd || length > most)
                {
                    return false;
                }

                more = *read++;
                length += more;
            }
            while (more == byte.MaxValue);
        }

        return length <= most;
    }

    /// <summary>Copies what lies <paramref name="offset"/> bytes back; the match may overlap itself, and then repeats a pattern.</summary>
    private static void CopyMatch(byte* write, int offset, long length, byte* end)
    {
        if (length + Vector128<byte>.Count > end - write)
        {
            // Close to the end, byte by byte.
            for (long i = 0; i < length; i++)
            {
                write[i] = write[i - offset];
            }

            return;
        }

        if (offset == 1)
        {
            new Span<byte>(write, (int)length).Fill(write[-1]);
            return;
        }

        if (offset >= Vector128<byte>.Count)
        {
            byte* target = write + length;
            do
            {
                Copy16(write - offset, write);
                write += Vector128<byte>.Count;
            }
            while (write < target);
            return;
        }

        long done = 0, distance = offset;
        if (offset < Vector128<byte>.Count)
        {
            // The first 16 bytes singly; from then on the pattern is also found a multiple of the offset back that is at least a vector.
            for (; done < Vector128<byte>.Count; done++)
            {
                write[done] = write[done - offset];
            }

            distance = (Vector128<byte>.Count + offset - 1) / offset * offset;
        }

        for (; done < length; done += Vector128<byte>.Count)
        {
            Copy16(write + done - distance, write + done);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy16(byte* from, byte* to) => Vector128.Load(from).Store(to);
}
