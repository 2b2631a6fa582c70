using System.Buffers;
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

    /// <summary>Takes more bytes into <paramref name="state"/>.</summary>
    public static uint Append(uint state, ReadOnlySpan<byte> bytes)
    {
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(bytes);
        foreach (ulong word in words)
        {
            state = BitOperations.Crc32C(state, BitConverter.IsLittleEndian ? word : System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(word));
        }

        foreach (byte value in bytes[(words.Length * sizeof(ulong))..])
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
}
