namespace E2LLM.Tokenization.ChatTemplates;

internal enum TemplateTokenKind
{
    /// <summary>Text outside of tags.</summary>
    Text,

    /// <summary><c>{{</c> or <c>{%</c>.</summary>
    Open,

    /// <summary><c>}}</c> or <c>%}</c>.</summary>
    Close,

    Name,
    String,
    Number,
    Operator,
    End,
}

/// <summary>A piece of a template.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Text">Its text; of a string what it stands for.</param>
/// <param name="Position">Where it stands, in characters.</param>
internal readonly record struct TemplateToken(TemplateTokenKind Kind, string Text, int Position)
{
    public bool Is(string text) => Kind is TemplateTokenKind.Operator or TemplateTokenKind.Name or TemplateTokenKind.Open or TemplateTokenKind.Close && Text == text;
}
