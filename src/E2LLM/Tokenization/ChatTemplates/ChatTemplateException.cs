namespace E2LLM.Tokenization;

/// <summary>A chat template cannot be parsed or rendered: it breaks the syntax, uses what is not supported, exceeds a limit, or refuses the conversation itself.</summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Design", "CA1032", Justification = "Without its place an error in a template says little.")]
public sealed class ChatTemplateException : FormatException
{
    internal ChatTemplateException(string message, int line, int column)
        : base($"Chat template, line {line}, column {column}: {message}")
    {
        Line = line;
        Column = column;
    }

    /// <summary>Line of the template, from 1.</summary>
    public int Line { get; }

    /// <summary>Column of the template in characters, from 1.</summary>
    public int Column { get; }
}
