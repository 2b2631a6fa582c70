namespace E2LLM.Tokenization.ChatTemplates;

/// <summary>
/// A text of which each character is known to come from the template or from the conversation, whatever was cut and joined: a mask of the same length goes through the
/// same operations. Only what the template itself wrote may become a control token. Immutable; thread-safe. Equal when the characters are.
/// </summary>
internal sealed class TemplateText : IEquatable<TemplateText>
{
    /// <summary>No text is longer, whatever the limits: two of them and their masks fit into memory.</summary>
    public const int MaxLength = 1 << 26;

    private const char FromTemplate = 't', FromData = 'd';

    private TemplateText(string text, string mask)
    {
        Text = text;
        Mask = mask;
    }

    public static TemplateText Empty { get; } = new("", "");

    public string Text { get; }

    private string Mask { get; }

    public int Length => Text.Length;

    public static TemplateText OfTemplate(string text) => new(text, new string(FromTemplate, text.Length));

    public static TemplateText OfData(string text) => new(text, new string(FromData, text.Length));

    public static TemplateText Join(IReadOnlyList<TemplateText> parts, TemplateText separator)
    {
        long length = parts.Sum(part => (long)part.Length) + ((long)separator.Length * Math.Max(parts.Count - 1, 0));
        if (length > MaxLength)
        {
            throw new TemplateFault($"a text would have {length} characters; {MaxLength} at most.");
        }

        var joined = parts.SelectMany((part, i) => i == 0 ? [part] : new[] { separator, part }).ToList();
        return new TemplateText(string.Concat(joined.Select(part => part.Text)), string.Concat(joined.Select(part => part.Mask)));
    }

    public TemplateText Slice(int start, int length) => new(Text.Substring(start, length), Mask.Substring(start, length));

    /// <summary>Every character by itself changed, none added or removed.</summary>
    public TemplateText Map(Func<string, string> change)
    {
        string changed = change(Text);
        return changed.Length == Text.Length ? new TemplateText(changed, Mask) : OfData(changed);
    }

    public TemplateText Trim(string? characters, bool start, bool end)
    {
        bool Goes(char c) => characters is null ? char.IsWhiteSpace(c) : characters.Contains(c, StringComparison.Ordinal);
        int first = 0, last = Length;
        while (start && first < last && Goes(Text[first]))
        {
            first++;
        }

        while (end && last > first && Goes(Text[last - 1]))
        {
            last--;
        }

        return Slice(first, last - first);
    }

    public List<TemplateText> Split(string separator, int most = int.MaxValue)
    {
        var parts = new List<TemplateText>();
        int at = 0;
        for (int next; parts.Count < most && (next = Text.IndexOf(separator, at, StringComparison.Ordinal)) >= 0; at = next + separator.Length)
        {
            parts.Add(Slice(at, next - at));
        }

        parts.Add(Slice(at, Length - at));
        return parts;
    }

    /// <summary>The text in runs of one origin, in order.</summary>
    public IEnumerable<(string Text, bool IsData)> Runs()
    {
        for (int start = 0, end; start < Length; start = end)
        {
            int other = Mask.AsSpan(start).IndexOfAnyExcept(Mask[start]);
            end = other < 0 ? Length : start + other;
            yield return (Text[start..end], Mask[start] == FromData);
        }
    }

    public bool Equals(TemplateText? other) => other is not null && Text == other.Text;

    public override bool Equals(object? obj) => Equals(obj as TemplateText);

    public override int GetHashCode() => Text.GetHashCode(StringComparison.Ordinal);

    public override string ToString() => Text;
}
