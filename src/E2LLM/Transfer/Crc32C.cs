using System.Buffers;
using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;

namespace E2LLM.Transfer;

/// <summary>
/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), by the processor's instruction where it has one. Detects any 5 flipped bits in
/// up to 655 bytes, any 3 in up to 256 MiB and any burst of up to 32 bits (Koopman's tables for this polynomial). Stateless; thread-safe.
/// </summary>
internal static class Crc32C
{
    /// <summary>State before the first byte; <see cref="Finish"/> inverts it back at the end.</summary>
    public const uint Start = 0xFFFF_FFFF;

    /// <summary>Words of one of three streams that are computed side by side: each step waits three cycles for the one before, so one stream alone leaves two thirds idle.</summary>
    private const int StreamWords = 128;

    /// <summary>Entry <c>256 b + v</c>: the state <c>v</c> in byte b, after as many zero bytes as a stream has.</summary>
    private static readonly uint[] AfterStream = MakeTable();

    /// <summary>Takes more bytes into <paramref name="state"/>.</summary>
    public static uint Append(uint state, ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(bytes);
        while (words.Length >= 3 * StreamWords)
        {
            state = AppendStreams(state, words);
            words = words[(3 * StreamWords)..];
        }

        foreach (ulong word in words)
        {
            state = BitOperations.Crc32C(state, LittleEndian(word));
        }

        foreach (byte value in bytes[(bytes.Length & ~(sizeof(ulong) - 1))..])
        {
            state = BitOperations.Crc32C(state, value);
        }

        return state;
    }

    /// <summary>Takes more bytes into <paramref name="state"/>, segment after segment.</summary>
    public static uint Append(uint state, in ReadOnlySequence<byte> bytes)
    {
        foreach (ReadOnlyMemory<byte> segment in bytes)
        {
            state = Append(state, segment.Span);
        }

        return state;
    }

    /// <summary>The checksum of all bytes taken.</summary>
    public static uint Finish(uint state) => ~state;

    /// <summary>The checksum of <paramref name="bytes"/>.</summary>
    public static uint Compute(ReadOnlySpan<byte> bytes) => Finish(Append(Start, bytes));

    /// <summary>
    /// Three streams side by side. The checksum is linear: the state after A and B is the state of A, moved on over the length of B, exclusive-or the state of B from zero.
    /// </summary>
    private static uint AppendStreams(uint state, ReadOnlySpan<ulong> words)
    {
        ReadOnlySpan<ulong> first = words[..StreamWords], second = words.Slice(StreamWords, StreamWords), third = words.Slice(2 * StreamWords, StreamWords);
        uint b = 0, c = 0;
        for (int i = 0; i < first.Length && i < second.Length && i < third.Length; i++)
        {
            state = BitOperations.Crc32C(state, LittleEndian(first[i]));
            b = BitOperations.Crc32C(b, LittleEndian(second[i]));
            c = BitOperations.Crc32C(c, LittleEndian(third[i]));
        }

        return MoveOn(MoveOn(state) ^ b) ^ c;
    }

    private static uint MoveOn(uint state) =>
        AfterStream[state & 0xFF] ^ AfterStream[256 + ((state >> 8) & 0xFF)] ^ AfterStream[512 + ((state >> 16) & 0xFF)] ^ AfterStream[768 + (state >> 24)];

    private static ulong LittleEndian(ulong word) => BitConverter.IsLittleEndian ? word : BinaryPrimitives.ReverseEndianness(word);

    private static uint[] MakeTable()
    {
        uint[] ofBit = new uint[32];
        for (int bit = 0; bit < ofBit.Length; bit++)
        {
            ofBit[bit] = 1u << bit;
            for (int i = 0; i < StreamWords; i++)
            {
                ofBit[bit] = BitOperations.Crc32C(ofBit[bit], 0UL);
            }
        }

        uint[] table = new uint[4 * 256];
        for (int i = 0; i < table.Length; i++)
        {
            for (int bit = 0; bit < 8; bit++)
            {
                table[i] ^= ((i >> bit) & 1) != 0 ? ofBit[(8 * (i / 256)) + bit] : 0;
            }
        }

        return table;
    }
}
