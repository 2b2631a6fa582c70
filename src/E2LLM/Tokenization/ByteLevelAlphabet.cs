using System.Text;

namespace E2LLM.Tokenization;

/// <summary>
/// How byte-level BPE vocabularies write bytes: printable Latin-1 bytes as themselves, the other 68 as U+0100 and on, in
/// order. Source: the GPT-2 encoder. Stateless; thread-safe.
/// </summary>
internal static class ByteLevelAlphabet
{
    private static readonly short[] ByteOfCharacter = Build();

    /// <summary>The bytes that <paramref name="text"/> writes; false where a character is not of the alphabet.</summary>
    public static bool TryDecode(ReadOnlySpan<byte> text, Span<byte> bytes, out int count)
    {
        count = 0;
        while (!text.IsEmpty)
        {
            Rune.DecodeFromUtf8(text, out Rune character, out int used);
            if (character.Value >= ByteOfCharacter.Length || ByteOfCharacter[character.Value] < 0)
            {
                return false;
            }

            bytes[count++] = (byte)ByteOfCharacter[character.Value];
            text = text[used..];
        }

        return true;
    }

    private static short[] Build()
    {
        var table = new short[256 + 68];
        Array.Fill(table, (short)-1);
        int next = 256;
        for (short value = 0; value < 256; value++)
        {
            bool printable = value is (>= 0x21 and <= 0x7E) or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            table[printable ? value : next++] = value;
        }

        return table;
    }
}
