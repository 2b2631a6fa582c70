using System.Buffers.Binary;

namespace E2LLM.Fuzz.Targets;

/// <summary>Spoils bytes: at given fields with numbers that overflow something, or anywhere.</summary>
internal static class ByteMutator
{
    private static readonly long[] Interesting =
    [
        0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 63, 64, 65, 127, 128, 255, 256, 65_535, 65_536, int.MaxValue, 1L << 31, uint.MaxValue, 1L << 32,
        (1L << 32) + 1, long.MaxValue, long.MinValue, -1, -2, -32, 1L << 62, 1L << 61,
    ];

    public static byte[] Mutate(byte[] input, IReadOnlyList<(int Offset, int Bytes)> fields, Random random)
    {
        byte[] bytes = [.. input];
        for (int rounds = 1 + random.Next(random.Next(4) == 0 ? 6 : 2); rounds > 0; rounds--)
        {
            bytes = random.Next(8) switch
            {
                <= 3 when fields.Count > 0 => OverwriteField(bytes, fields[random.Next(fields.Count)], random),
                4 => FlipBit(bytes, random),
                5 => bytes[..random.Next(bytes.Length + 1)],
                6 => Splice(bytes, random),
                _ => Insert(bytes, random),
            };
        }

        return bytes;
    }

    private static byte[] OverwriteField(byte[] bytes, (int Offset, int Bytes) field, Random random)
    {
        if (field.Offset + field.Bytes > bytes.Length)
        {
            return bytes;
        }

        Span<byte> place = bytes.AsSpan(field.Offset, field.Bytes);
        Span<byte> number = stackalloc byte[8];
        number.Clear();
        place[..Math.Min(8, place.Length)].CopyTo(number);
        long old = BinaryPrimitives.ReadInt64LittleEndian(number);
        long value = random.Next(4) switch
        {
            0 => old + random.Next(-2, 3),
            1 => bytes.Length - field.Offset - field.Bytes + random.Next(-1, 2),
            2 => random.NextInt64(),
            _ => Interesting[random.Next(Interesting.Length)],
        };
        BinaryPrimitives.WriteInt64LittleEndian(number, value);
        number[..Math.Min(8, place.Length)].CopyTo(place);
        return bytes;
    }

    private static byte[] FlipBit(byte[] bytes, Random random)
    {
        if (bytes.Length > 0)
        {
            bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
        }

        return bytes;
    }

    /// <summary>Takes one stretch of the input to another place of it.</summary>
    private static byte[] Splice(byte[] bytes, Random random)
    {
        int from = random.Next(bytes.Length + 1), to = random.Next(bytes.Length + 1);
        int length = Math.Min(random.Next(64), bytes.Length - Math.Max(from, to));
        bytes.AsSpan(from, length).ToArray().CopyTo(bytes.AsSpan(to));
        return bytes;
    }

    private static byte[] Insert(byte[] bytes, Random random)
    {
        int at = random.Next(bytes.Length + 1);
        var added = new byte[random.Next(1, 40)];
        random.NextBytes(added);
        return [.. bytes[..at], .. added, .. bytes[at..]];
    }
}
