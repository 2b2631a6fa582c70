using System.Globalization;

namespace E2LLM.Tokenization.ChatTemplates;

/// <summary>Recursive descent over the tokens of a template: the part that reads expressions. The precedence is Jinja's.</summary>
internal class ExpressionParser(TemplateSource source, List<TemplateToken> tokens, int maxDepth) : TokenReader(source, tokens, maxDepth)
{
    private static readonly string[][] Levels = [["+", "-"], ["~"], ["*", "/", "//", "%"]];

    public Expression ParseExpression() => Nested(() =>
    {
        Expression value = ParseOr();
        while (Current.Is("if"))
        {
            int at = Take().Position;
            Expression condition = ParseOr();
            value = new ConditionalExpression(at, condition, value, TryTake("else") ? ParseExpression() : null);
        }

        return value;
    });

    /// <summary>An expression without a condition behind it: the items of a loop, whose <c>if</c> is a filter.</summary>
    protected Expression ParseOr()
    {
        Expression left = ParseAnd();
        while (Current.Is("or"))
        {
            left = new BinaryExpression(Take().Position, "or", left, ParseAnd());
        }

        return left;
    }

    private Expression ParseAnd()
    {
        Expression left = ParseNot();
        while (Current.Is("and"))
        {
            left = new BinaryExpression(Take().Position, "and", left, ParseNot());
        }

        return left;
    }

    private Expression ParseNot() => Current.Is("not") ? Nested(() => new UnaryExpression(Take().Position, "not", ParseNot())) : ParseComparison();

    private Expression ParseComparison()
    {
        Expression left = ParseLevel(0);
        while (true)
        {
            TemplateToken token = Current;
            if (token.Kind == TemplateTokenKind.Operator && token.Text is "==" or "!=" or "<" or "<=" or ">" or ">=" || token.Is("in"))
            {
                Take();
                left = new BinaryExpression(token.Position, token.Text, left, ParseLevel(0));
            }
            else if (token.Is("not") && Following.Is("in"))
            {
                Take();
                Take();
                left = new UnaryExpression(token.Position, "not", new BinaryExpression(token.Position, "in", left, ParseLevel(0)));
            }
            else
            {
                return left;
            }
        }
    }

    private Expression ParseLevel(int level)
    {
        if (level == Levels.Length)
        {
            return ParseUnary();
        }

        Expression left = ParseLevel(level + 1);
        while (Current.Kind == TemplateTokenKind.Operator && Levels[level].Contains(Current.Text))
        {
            TemplateToken token = Take();
            left = new BinaryExpression(token.Position, token.Text, left, ParseLevel(level + 1));
        }

        return left;
    }

    private Expression ParseUnary()
    {
        if (Current.Kind == TemplateTokenKind.Operator && Current.Text is "-" or "+")
        {
            TemplateToken sign = Take();
            return Nested(() => new UnaryExpression(sign.Position, sign.Text, ParseUnary()));
        }

        Expression value = ParsePrimary();
        while (true)
        {
            TemplateToken token = Current;
            if (TryTake("."))
            {
                value = new MemberExpression(token.Position, value, Current.Kind == TemplateTokenKind.Number ? Take().Text : ExpectName());
            }
            else if (TryTake("["))
            {
                value = ParseIndex(token.Position, value);
            }
            else if (TryTake("("))
            {
                (List<Expression> arguments, List<(string, Expression)> named) = ParseArguments();
                value = new CallExpression(token.Position, value, arguments, named);
            }
            else if (TryTake("|"))
            {
                string name = ExpectName();
                (List<Expression> arguments, List<(string, Expression)> named) = TryTake("(") ? ParseArguments() : ([], []);
                value = new FilterExpression(token.Position, name, value, arguments, named);
            }
            else if (TryTake("is"))
            {
                value = ParseTest(token.Position, value);
            }
            else
            {
                return value;
            }
        }
    }

    private TestExpression ParseTest(int position, Expression value)
    {
        bool negated = TryTake("not");
        string name = ExpectName();
        List<Expression> arguments = [];
        if (TryTake("("))
        {
            arguments = ParseArguments().Arguments;
        }
        else if (Current.Kind is TemplateTokenKind.String or TemplateTokenKind.Number || Current.Is("[")
            || (Current.Kind == TemplateTokenKind.Name && Current.Text is not ("and" or "or" or "not" or "is" or "in" or "if" or "else")))
        {
            arguments = [ParsePrimary()];
        }

        return new TestExpression(position, name, value, arguments, negated);
    }

    private Expression ParseIndex(int position, Expression target)
    {
        Expression? start = Current.Is(":") ? null : ParseExpression();
        if (TryTake("]"))
        {
            return new IndexExpression(position, target, start!);
        }

        Expect(":");
        Expression? stop = Current.Is(":") || Current.Is("]") ? null : ParseExpression();
        Expression? step = TryTake(":") && !Current.Is("]") ? ParseExpression() : null;
        Expect("]");
        return new SliceExpression(position, target, start, stop, step);
    }

    private (List<Expression> Arguments, List<(string Name, Expression Value)> Named) ParseArguments()
    {
        List<Expression> arguments = [];
        List<(string, Expression)> named = [];
        while (!TryTake(")"))
        {
            if (Current.Kind == TemplateTokenKind.Name && Following.Is("="))
            {
                string name = ExpectName();
                Expect("=");
                named.Add((name, ParseExpression()));
            }
            else
            {
                arguments.Add(ParseExpression());
            }

            if (!Current.Is(")"))
            {
                Expect(",");
            }
        }

        return (arguments, named);
    }

    private Expression ParsePrimary()
    {
        TemplateToken token = Take();
        switch (token.Kind)
        {
            case TemplateTokenKind.String:
                string text = token.Text;
                while (Current.Kind == TemplateTokenKind.String)
                {
                    // Strings beside each other are one.
                    text += Take().Text;
                }

                return new LiteralExpression(token.Position, TemplateText.OfTemplate(text));
            case TemplateTokenKind.Number:
                return token.Text.Contains('.', StringComparison.Ordinal) ? new LiteralExpression(token.Position, double.Parse(token.Text, CultureInfo.InvariantCulture))
                    : long.TryParse(token.Text, CultureInfo.InvariantCulture, out long number) ? new LiteralExpression(token.Position, number)
                    : throw Source.Error(token.Position, $"the number {token.Text} is too large.");
            case TemplateTokenKind.Name:
                return token.Text switch
                {
                    "true" or "True" => new LiteralExpression(token.Position, true),
                    "false" or "False" => new LiteralExpression(token.Position, false),
                    "none" or "None" => new LiteralExpression(token.Position, null),
                    _ => new NameExpression(token.Position, token.Text),
                };
            case TemplateTokenKind.Operator when token.Text == "[":
                return new ListExpression(token.Position, ParseItems("]"));
            case TemplateTokenKind.Operator when token.Text == "(":
                return ParseGroup(token.Position);
            case TemplateTokenKind.Operator when token.Text == "{":
                return ParseDictionary(token.Position);
            default:
                throw Source.Error(token.Position, $"expected a value, found '{token.Text}'.");
        }
    }

    private Expression ParseGroup(int position)
    {
        Expression first = ParseExpression();
        if (TryTake(")"))
        {
            return first;
        }

        Expect(",");
        return new ListExpression(position, [first, .. ParseItems(")")]);
    }

    private List<Expression> ParseItems(string end)
    {
        List<Expression> items = [];
        while (!TryTake(end))
        {
            items.Add(ParseExpression());
            if (!Current.Is(end))
            {
                Expect(",");
            }
        }

        return items;
    }

    private DictionaryExpression ParseDictionary(int position)
    {
        List<(Expression, Expression)> items = [];
        while (!TryTake("}"))
        {
            Expression key = ParseExpression();
            Expect(":");
            items.Add((key, ParseExpression()));
            if (!Current.Is("}"))
            {
                Expect(",");
            }
        }

        return new DictionaryExpression(position, items);
    }
}
