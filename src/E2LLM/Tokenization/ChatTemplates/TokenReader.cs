namespace E2LLM.Tokenization.ChatTemplates;

/// <summary>A place in the tokens of a template, and the errors that name it.</summary>
internal class TokenReader(TemplateSource source, List<TemplateToken> tokens, int maxDepth)
{
    private int _at, _depth;

    protected TemplateSource Source => source;

    protected TemplateToken Current => tokens[_at];

    /// <summary>The token after the current one; only asked for where the current one is not the end.</summary>
    protected TemplateToken Following => tokens[_at + 1];

    protected TemplateToken Take() => tokens[_at].Kind == TemplateTokenKind.End ? tokens[_at] : tokens[_at++];

    protected bool TryTake(string text)
    {
        bool found = Current.Is(text);
        _at += found ? 1 : 0;
        return found;
    }

    protected TemplateToken Expect(string text) => Current.Is(text) ? Take() : throw Unexpected($"'{text}'");

    protected string ExpectName() => Current.Kind == TemplateTokenKind.Name ? Take().Text : throw Unexpected("a name");

    protected ChatTemplateException Unexpected(string expected) => source.Error(Current.Position, $"expected {expected}, found '{Current.Text}'.");

    protected T Nested<T>(Func<T> read)
    {
        if (++_depth > maxDepth)
        {
            throw source.Error(Current.Position, $"more than {maxDepth} blocks and expressions inside each other.");
        }

        T result = read();
        _depth--;
        return result;
    }
}
