using System.Text;

namespace E2LLM.Tokenization.ChatTemplates;

/// <summary>
/// Cuts a template into tokens. White space as chat templates expect it: the newline behind a block tag goes, and the spaces before one that begins a line (Jinja's
/// <c>trim_blocks</c> and <c>lstrip_blocks</c>); <c>-</c> in a tag takes all white space on its side, <c>+</c> keeps all.
/// </summary>
internal sealed class TemplateLexer(TemplateSource source)
{
    private static readonly string[] Operators = ["==", "!=", "<=", ">=", "//", "**", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ":", ".", "|"];

    // A newline that ends the source ends the file, not the prompt.
    private readonly string _text = source.Text.EndsWith('\n') ? source.Text[..^1] : source.Text;
    private readonly List<TemplateToken> _tokens = [];
    private int _at;
    private bool _trimsNewline, _trimsAll;

    public List<TemplateToken> Run()
    {
        while (_at < _text.Length)
        {
            int tag = FindTag();
            AddText(tag);
            if (tag == _text.Length)
            {
                break;
            }

            _at = tag;
            if (_text[tag + 1] == '#')
            {
                Comment();
            }
            else
            {
                Tag(_text[tag + 1] == '%');
            }
        }

        _tokens.Add(new TemplateToken(TemplateTokenKind.End, "the end", _text.Length));
        return _tokens;
    }

    private int FindTag()
    {
        for (int tag = _text.IndexOf('{', _at); tag >= 0 && tag + 1 < _text.Length; tag = _text.IndexOf('{', tag + 1))
        {
            if (_text[tag + 1] is '{' or '%' or '#')
            {
                return tag;
            }
        }

        return _text.Length;
    }

    private void AddText(int tag)
    {
        string text = _text[_at..tag];
        if (_trimsAll)
        {
            text = text.TrimStart();
        }
        else if (_trimsNewline)
        {
            text = text.StartsWith("\r\n", StringComparison.Ordinal) ? text[2..] : text.StartsWith('\n') ? text[1..] : text;
        }

        char mark = tag + 2 < _text.Length ? _text[tag + 2] : ' ';
        if (tag < _text.Length && mark == '-')
        {
            text = text.TrimEnd();
        }
        else if (tag < _text.Length && mark != '+' && _text[tag + 1] != '{')
        {
            string stripped = text.TrimEnd(' ', '\t');
            bool beginsLine = stripped.Length > 0 ? stripped[^1] == '\n' : _at == 0 || _text[..tag].TrimEnd(' ', '\t') is [] or [.., '\n'];
            text = beginsLine ? stripped : text;
        }

        _trimsAll = _trimsNewline = false;
        if (text.Length > 0)
        {
            _tokens.Add(new TemplateToken(TemplateTokenKind.Text, text, _at));
        }
    }

    private void Comment()
    {
        int end = _text.IndexOf("#}", _at + 2, StringComparison.Ordinal);
        if (end < 0)
        {
            throw source.Error(_at, "the comment has no end.");
        }

        _trimsAll = _text[end - 1] == '-';
        _trimsNewline = true;
        _at = end + 2;
    }

    private void Tag(bool isBlock)
    {
        string close = isBlock ? "%}" : "}}";
        int open = _at, nesting = 0;
        _tokens.Add(new TemplateToken(TemplateTokenKind.Open, isBlock ? "{%" : "{{", open));
        _at += 2;
        if (_at < _text.Length && _text[_at] is '-' or '+')
        {
            _at++;
        }

        while (true)
        {
            while (_at < _text.Length && char.IsWhiteSpace(_text[_at]))
            {
                _at++;
            }

            if (_at >= _text.Length)
            {
                throw source.Error(open, $"the tag has no end: '{close}' is missing.");
            }

            bool signed = nesting == 0 && _text[_at] is '-' or '+' && string.CompareOrdinal(_text, _at + 1, close, 0, 2) == 0;
            if (signed || (nesting == 0 && string.CompareOrdinal(_text, _at, close, 0, 2) == 0))
            {
                _trimsAll = signed && _text[_at] == '-';
                _trimsNewline = isBlock && !signed;
                _tokens.Add(new TemplateToken(TemplateTokenKind.Close, close, _at));
                _at += signed ? 3 : 2;
                return;
            }

            TemplateToken token = Next();
            nesting += token.Kind != TemplateTokenKind.Operator ? 0 : token.Text is "{" or "(" or "[" ? 1 : token.Text is "}" or ")" or "]" ? -1 : 0;
            _tokens.Add(token);
        }
    }

    private TemplateToken Next()
    {
        int start = _at;
        char c = _text[_at];
        if (c is '\'' or '"')
        {
            return new TemplateToken(TemplateTokenKind.String, QuotedText(c), start);
        }

        if (char.IsAsciiDigit(c))
        {
            Skip(static d => char.IsAsciiDigit(d) || d == '_');
            if (_at + 1 < _text.Length && _text[_at] == '.' && char.IsAsciiDigit(_text[_at + 1]))
            {
                _at++;
                Skip(char.IsAsciiDigit);
            }

            return new TemplateToken(TemplateTokenKind.Number, _text[start.._at].Replace("_", "", StringComparison.Ordinal), start);
        }

        if (char.IsAsciiLetter(c) || c == '_')
        {
            Skip(static d => char.IsAsciiLetterOrDigit(d) || d == '_');
            return new TemplateToken(TemplateTokenKind.Name, _text[start.._at], start);
        }

        string? found = Array.Find(Operators, candidate => string.CompareOrdinal(_text, start, candidate, 0, candidate.Length) == 0);
        _at += found?.Length ?? 0;
        return found is not null ? new TemplateToken(TemplateTokenKind.Operator, found, start) : throw source.Error(start, $"the character '{c}' means nothing here.");
    }

    private void Skip(Func<char, bool> belongs)
    {
        while (_at < _text.Length && belongs(_text[_at]))
        {
            _at++;
        }
    }

    private string QuotedText(char quote)
    {
        var text = new StringBuilder();
        int start = _at++;
        for (; _at < _text.Length && _text[_at] != quote; _at++)
        {
            if (_text[_at] == '\\' && _at + 1 < _text.Length)
            {
                char escaped = _text[++_at];
                text.Append(escaped switch
                {
                    'n' => "\n", 't' => "\t", 'r' => "\r", 'b' => "\b", 'f' => "\f", '\\' or '\'' or '"' or '/' => escaped.ToString(), _ => $"\\{escaped}",
                });
            }
            else
            {
                text.Append(_text[_at]);
            }
        }

        if (_at >= _text.Length)
        {
            throw source.Error(start, "the string has no end.");
        }

        _at++;
        return text.ToString();
    }
}
