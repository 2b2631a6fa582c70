using System.Buffers.Binary;
using E2LLM.Transfer.Codecs;

namespace E2LLM.Fuzz.Targets;

/// <summary>
/// Mutated LZ4 blocks. Whatever the bytes, nothing outside the destination is written, and what a block gives depends on its bytes alone; a block that is taken decodes the same once more after compression.
/// </summary>
internal sealed class Lz4BlockTarget : IFuzzTarget
{
    private const int Margin = 64;
    private const byte Canary = 0xA5;

    public string Name => "lz4";

    /// <summary>First four bytes: size of the result.</summary>
    public byte[] CreateInput(Random random)
    {
        byte[] source = new byte[random.Next(1, 700)];
        int letters = 1 << random.Next(9);
        for (int i = 0; i < source.Length; i++)
        {
            source[i] = i > 0 && random.Next(3) > 0 ? source[i - 1 - random.Next(Math.Min(i, 40))] : (byte)random.Next(letters);
        }

        byte[] block = new byte[Lz4Block.MaxCompressedBytes(source.Length)];
        block = ByteMutator.Mutate(block[..Lz4Block.Compress(source, block)], [(0, 1), (1, 2)], random);
        byte[] input = [0, 0, 0, 0, .. block];
        BinaryPrimitives.WriteInt32LittleEndian(input, random.Next(8) == 0 ? random.Next(800) : source.Length);
        return input;
    }

    public bool Check(byte[] input)
    {
        int size = input.Length < sizeof(int) ? -1 : BinaryPrimitives.ReadInt32LittleEndian(input);
        if (size is < 0 or > 1 << 16)
        {
            return false;
        }

        byte[] first = new byte[size + (2 * Margin)], second = new byte[size + (2 * Margin)];
        bool taken = Decode(input, first, size, filling: 0), again = Decode(input, second, size, filling: 0xFF);
        if (taken != again || (taken && !first.AsSpan().SequenceEqual(second)))
        {
            throw new FuzzFailureException("The result depends on what the destination held before.");
        }

        if (taken)
        {
            byte[] block = new byte[Lz4Block.MaxCompressedBytes(size)], back = new byte[size];
            if (!Lz4Block.TryDecompress(block.AsSpan(0, Lz4Block.Compress(first.AsSpan(Margin, size), block)), back) || !back.AsSpan().SequenceEqual(first.AsSpan(Margin, size)))
            {
                throw new FuzzFailureException("What was decoded does not come back from its own block.");
            }
        }

        return taken;
    }

    private static bool Decode(byte[] input, byte[] place, int size, byte filling)
    {
        place.AsSpan().Fill(Canary);
        place.AsSpan(Margin, size).Fill(filling);
        bool taken = Lz4Block.TryDecompress(input.AsSpan(sizeof(int)), place.AsSpan(Margin, size));
        return !place.AsSpan(0, Margin).ContainsAnyExcept(Canary) && !place.AsSpan(Margin + size).ContainsAnyExcept(Canary)
            ? taken
            : throw new FuzzFailureException("Bytes outside the destination were written.");
    }
}
