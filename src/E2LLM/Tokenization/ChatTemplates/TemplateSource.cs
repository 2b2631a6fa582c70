namespace E2LLM.Tokenization.ChatTemplates;

/// <summary>A template's text, for messages that name a place in it. Immutable; thread-safe.</summary>
internal sealed record TemplateSource(string Text)
{
    public ChatTemplateException Error(int position, string message)
    {
        ReadOnlySpan<char> before = Text.AsSpan(0, Math.Min(position, Text.Length));
        return new ChatTemplateException(message, before.Count('\n') + 1, before.Length - before.LastIndexOf('\n'));
    }
}
