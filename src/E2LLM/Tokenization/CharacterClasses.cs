using System.Globalization;

namespace E2LLM.Tokenization;

/// <summary>What pre-tokenizers tell apart. Whitespace wins over every other class.</summary>
internal enum CharacterClass : byte
{
    /// <summary>Anything else: punctuation, symbols, marks, controls, unassigned code points, lone surrogates.</summary>
    Other = 0,

    /// <summary>Unicode category L.</summary>
    Letter = 1,

    /// <summary>Unicode category N.</summary>
    Number = 2,

    /// <summary>Unicode property White_Space.</summary>
    Whitespace = 3,

    /// <summary>No character: the end of the text.</summary>
    End = 4,
}

/// <summary>
/// Classes of characters by Unicode 15.1, the version whose tables llama.cpp carries: what Unicode 16 added counts as
/// unassigned, since token boundaries must not move with the runtime. A test holds the whole table. Thread-safe.
/// </summary>
internal static class CharacterClasses
{
    /// <summary>Code points that .NET 10 knows and Unicode 15.1 does not, first and last; unassigned ones between them are included.</summary>
    private static readonly (int First, int Last)[] AddedLater =
    [
        (0x1C89, 0x1C8A), (0xA7CB, 0xA7CD), (0xA7DA, 0xA7DC), (0x105C0, 0x105F3), (0x10D40, 0x10D8F), (0x10EC2, 0x10EFC),
        (0x11380, 0x113E2), (0x116D0, 0x116E3), (0x11BC0, 0x11BF9), (0x13460, 0x143FA), (0x16100, 0x16139), (0x16D40, 0x16D79),
        (0x18CFF, 0x18CFF), (0x1CC00, 0x1CEB3), (0x1E5D0, 0x1E5FF),
    ];

    private static readonly byte[] BasicPlane = BuildBasicPlane();

    /// <summary>The class of the character at <paramref name="index"/> and the number of UTF-16 units that it takes (0 at the end).</summary>
    public static CharacterClass At(ReadOnlySpan<char> text, int index, out int width)
    {
        if ((uint)index >= (uint)text.Length)
        {
            width = 0;
            return CharacterClass.End;
        }

        char unit = text[index];
        if (char.IsHighSurrogate(unit) && index + 1 < text.Length && char.IsLowSurrogate(text[index + 1]))
        {
            width = 2;
            return Classify(char.ConvertToUtf32(unit, text[index + 1]));
        }

        width = 1;
        return (CharacterClass)BasicPlane[unit];
    }

    /// <summary>The class of any code point.</summary>
    public static CharacterClass Of(int codePoint) => codePoint < BasicPlane.Length ? (CharacterClass)BasicPlane[codePoint] : Classify(codePoint);

    private static byte[] BuildBasicPlane()
    {
        var table = new byte[0x10000];
        for (int codePoint = 0; codePoint < table.Length; codePoint++)
        {
            table[codePoint] = (byte)Classify(codePoint);
        }

        return table;
    }

    private static CharacterClass Classify(int codePoint)
    {
        if (codePoint <= 0xFFFF && char.IsWhiteSpace((char)codePoint))
        {
            return CharacterClass.Whitespace;
        }

        CharacterClass found = CharUnicodeInfo.GetUnicodeCategory(codePoint) switch
        {
            <= UnicodeCategory.OtherLetter => CharacterClass.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => CharacterClass.Number,
            _ => CharacterClass.Other,
        };
        if (found != CharacterClass.Other)
        {
            foreach ((int first, int last) in AddedLater)
            {
                if (codePoint >= first && codePoint <= last)
                {
                    return CharacterClass.Other;
                }
            }
        }

        return found;
    }
}
