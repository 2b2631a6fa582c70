namespace E2LLM.Tokenization;

/// <summary>The families of word patterns, as regular expressions over code points.</summary>
internal enum WordPattern
{
    /// <summary><c>'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+</c>.</summary>
    Gpt2,

    /// <summary><c>(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,k}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+</c>.</summary>
    Llama3,

    /// <summary>
    /// <c>[^\r\n\p{L}\p{N}]?U*W+|[^\r\n\p{L}\p{N}]?U+W*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+</c>, where U is a
    /// letter but a-z and W a letter but A-Z: words end before a capital, in ASCII alone.
    /// </summary>
    Tekken,
}

/// <summary>
/// Cuts text into the words inside which byte pairs merge. Written by hand rather than as a regular expression: one pass,
/// no backtracking, and character classes of a fixed Unicode version. Immutable; thread-safe.
/// </summary>
internal sealed record PreTokenizer(WordPattern Pattern)
{
    /// <summary>Longest run of digits in one word, for <see cref="WordPattern.Llama3"/>.</summary>
    public int MaxDigitCount { get; init; } = 1;

    /// <summary>Whether every number character is cut out first and the words are found in what lies between.</summary>
    public bool IsolatesDigits { get; init; }

    /// <summary>Whether a word that is a token is taken as it is, without merging.</summary>
    public bool TakesWholeWords { get; init; }

    /// <summary>Whether a text starts with BOS where the file does not say.</summary>
    public bool AddsBos { get; init; }

    /// <summary>End of the segment that starts at <paramref name="start"/>: what lies outside it is not looked at when words are found in it.</summary>
    public int SegmentEnd(ReadOnlySpan<char> text, int start)
    {
        if (!IsolatesDigits)
        {
            return text.Length;
        }

        int at = start;
        bool isNumber = CharacterClasses.At(text, at, out int width) == CharacterClass.Number;
        do
        {
            at += width;
        }
        while (!isNumber && CharacterClasses.At(text, at, out width) is not (CharacterClass.Number or CharacterClass.End));
        return at;
    }

    /// <summary>End of the word that starts at <paramref name="start"/> of a segment; always beyond it.</summary>
    public int WordEnd(ReadOnlySpan<char> segment, int start) =>
        Pattern == WordPattern.Gpt2 ? Gpt2WordEnd(segment, start) : LongWordEnd(segment, start);

    private static int Gpt2WordEnd(ReadOnlySpan<char> text, int start)
    {
        int contraction = Contraction(text[start..], ignoreCase: false);
        if (contraction > 0)
        {
            return start + contraction;
        }

        // " ?" before a run of letters, of numbers or of anything that is no space.
        int at = text[start] == ' ' ? start + 1 : start;
        CharacterClass kind = CharacterClasses.At(text, at, out int width);
        return kind is CharacterClass.Whitespace or CharacterClass.End
            ? WhitespaceEnd(text, start)
            : RunEnd(text, at + width, kind);
    }

    /// <summary>What <see cref="WordPattern.Llama3"/> and <see cref="WordPattern.Tekken"/> share.</summary>
    private int LongWordEnd(ReadOnlySpan<char> text, int start)
    {
        int contraction = Pattern == WordPattern.Llama3 ? Contraction(text[start..], ignoreCase: true) : 0;
        if (contraction > 0)
        {
            return start + contraction;
        }

        CharacterClass kind = CharacterClasses.At(text, start, out int width);
        bool isLineEnd = text[start] is '\r' or '\n';
        if (kind == CharacterClass.Letter)
        {
            return LettersEnd(text, start);
        }

        if (kind == CharacterClass.Number)
        {
            int at = start;
            for (int digits = 0; digits < MaxDigitCount && CharacterClasses.At(text, at, out width) == CharacterClass.Number; digits++)
            {
                at += width;
            }

            return at;
        }

        // One character of any other kind but a line end goes with the letters after it.
        if (!isLineEnd && CharacterClasses.At(text, start + width, out _) == CharacterClass.Letter)
        {
            return LettersEnd(text, start + width);
        }

        int first = text[start] == ' ' ? start + 1 : start;
        if (CharacterClasses.At(text, first, out width) == CharacterClass.Other)
        {
            int at = RunEnd(text, first + width, CharacterClass.Other);
            while (at < text.Length && (text[at] is '\r' or '\n' || (text[at] == '/' && Pattern == WordPattern.Tekken)))
            {
                at++;
            }

            return at;
        }

        int end = RunEnd(text, start, CharacterClass.Whitespace);
        int lineEnd = text[start..end].LastIndexOfAny('\r', '\n');
        return lineEnd >= 0 ? start + lineEnd + 1 : WhitespaceEnd(text, start);
    }

    /// <summary>End of the letters that make one word from <paramref name="start"/> on, where a letter is.</summary>
    private int LettersEnd(ReadOnlySpan<char> text, int start)
    {
        if (Pattern == WordPattern.Llama3)
        {
            return RunEnd(text, start, CharacterClass.Letter);
        }

        // U*: up to the first ASCII lower-case letter or the end of the letters. A letter beyond ASCII is both U and W.
        int at = start, afterLastOther = -1;
        while (CharacterClasses.At(text, at, out int width) == CharacterClass.Letter && !char.IsAsciiLetterLower(text[at]))
        {
            at += width;
            afterLastOther = char.IsAscii(text[at - width]) ? afterLastOther : at;
        }

        if (at < text.Length && char.IsAsciiLetterLower(text[at]))
        {
            while (CharacterClasses.At(text, at, out int width) == CharacterClass.Letter && !char.IsAsciiLetterUpper(text[at]))
            {
                at += width;
            }

            return at;
        }

        // W+ has nothing left, so U* gives back as far as the last letter that W takes; where it has none, U+ alone is the word.
        return afterLastOther >= 0 ? afterLastOther : at;
    }

    /// <summary>A run of whitespace leaves its last character to the word that follows, if one does: <c>\s+(?!\S)|\s+</c>.</summary>
    private static int WhitespaceEnd(ReadOnlySpan<char> text, int start)
    {
        int end = RunEnd(text, start, CharacterClass.Whitespace);

        // Every whitespace character is one UTF-16 unit.
        return end < text.Length && end - start > 1 ? end - 1 : end;
    }

    private static int RunEnd(ReadOnlySpan<char> text, int start, CharacterClass kind)
    {
        int at = start;
        while (CharacterClasses.At(text, at, out int width) == kind)
        {
            at += width;
        }

        return at;
    }

    /// <summary>Length of <c>'s 't 'm 'd 're 've 'll</c> at the start of the text, or 0.</summary>
    private static int Contraction(ReadOnlySpan<char> text, bool ignoreCase)
    {
        if (text[0] != '\'' || text.Length < 2)
        {
            return 0;
        }

        char first = Lower(text[1]);
        if (first is 's' or 't' or 'm' or 'd')
        {
            return 2;
        }

        return text.Length > 2 && (first, Lower(text[2])) is ('r', 'e') or ('v', 'e') or ('l', 'l') ? 3 : 0;

        char Lower(char character) => ignoreCase && character is >= 'A' and <= 'Z' ? (char)(character | 0x20) : character;
    }
}
