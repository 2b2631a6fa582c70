namespace E2LLM.Tokenization.ChatTemplates;

/// <summary>Recursive descent over the tokens of a template: the part that reads text and blocks.</summary>
internal sealed class TemplateParser(TemplateSource source, List<TemplateToken> tokens, int maxDepth) : ExpressionParser(source, tokens, maxDepth)
{
    private const string Supported = "for, if, set, macro, break, continue, generation";

    /// <summary>Parses a whole template.</summary>
    /// <exception cref="ChatTemplateException">It breaks the syntax or a limit, or uses a statement that is not supported.</exception>
    public static IReadOnlyList<TemplateNode> Parse(TemplateSource source, int maxDepth)
    {
        var parser = new TemplateParser(source, new TemplateLexer(source).Run(), maxDepth);
        List<TemplateNode> nodes = parser.ParseBody(out string end);
        return end.Length == 0 ? nodes : throw source.Error(parser.Current.Position, $"'{end}' has no beginning.");
    }

    /// <summary>Nodes up to a statement that ends or continues a block, whose name is taken, or to the end of the template.</summary>
    private List<TemplateNode> ParseBody(out string end)
    {
        List<TemplateNode> nodes = [];
        while (true)
        {
            TemplateToken token = Take();
            switch (token.Kind)
            {
                case TemplateTokenKind.End:
                    end = string.Empty;
                    return nodes;
                case TemplateTokenKind.Text:
                    nodes.Add(new TextNode(token.Position, token.Text));
                    break;
                case TemplateTokenKind.Open when token.Text == "{{":
                    nodes.Add(new OutputNode(token.Position, ParseExpression()));
                    Expect("}}");
                    break;
                default:
                    string statement = ExpectName();
                    if (statement.StartsWith("end", StringComparison.Ordinal) || statement is "else" or "elif")
                    {
                        end = statement;
                        return nodes;
                    }

                    Nested(() => AddStatement(nodes, statement, token.Position));
                    break;
            }
        }
    }

    private bool AddStatement(List<TemplateNode> nodes, string statement, int position)
    {
        switch (statement)
        {
            case "if":
                nodes.Add(ParseIf(position));
                break;
            case "for":
                nodes.Add(ParseFor(position));
                break;
            case "set":
                nodes.Add(ParseSet(position));
                break;
            case "macro":
                nodes.Add(ParseMacro(position));
                break;
            case "break" or "continue":
                Expect("%}");
                nodes.Add(new JumpNode(position, statement == "break"));
                break;
            case "generation":
                // Marks what the model says, for training; nothing to do here.
                Expect("%}");
                nodes.AddRange(ParseBlock(position, "endgeneration"));
                break;
            default:
                throw Source.Error(position, $"the statement '{statement}' is not supported; supported: {Supported}.");
        }

        return true;
    }

    private List<TemplateNode> ParseBlock(int position, string closing)
    {
        List<TemplateNode> body = ParseBody(out string end);
        if (end != closing)
        {
            throw Source.Error(position, $"the block ends with {(end.Length == 0 ? "the template" : $"'{end}'")}; expected '{closing}'.");
        }

        Expect("%}");
        return body;
    }

    private IfNode ParseIf(int position)
    {
        Expression condition = ParseExpression();
        Expect("%}");
        List<TemplateNode> then = ParseBody(out string end);
        switch (end)
        {
            case "elif":
                return new IfNode(position, condition, then, [Nested(() => ParseIf(position))]);
            case "else":
                Expect("%}");
                return new IfNode(position, condition, then, ParseBlock(position, "endif"));
            case "endif":
                Expect("%}");
                return new IfNode(position, condition, then, []);
            default:
                throw Source.Error(position, $"the block ends with {(end.Length == 0 ? "the template" : $"'{end}'")}; expected 'endif'.");
        }
    }

    private ForNode ParseFor(int position)
    {
        List<string> targets = ParseTargets();
        Expect("in");
        Expression items = ParseOr();
        Expression? filter = TryTake("if") ? ParseExpression() : null;
        Expect("%}");
        List<TemplateNode> body = ParseBody(out string end), otherwise = [];
        if (end == "else")
        {
            Expect("%}");
            otherwise = ParseBlock(position, "endfor");
        }
        else if (end == "endfor")
        {
            Expect("%}");
        }
        else
        {
            throw Source.Error(position, $"the block ends with {(end.Length == 0 ? "the template" : $"'{end}'")}; expected 'endfor'.");
        }

        return new ForNode(position, targets, items, filter, body, otherwise);
    }

    private List<string> ParseTargets()
    {
        List<string> targets = [ExpectName()];
        while (TryTake(","))
        {
            targets.Add(ExpectName());
        }

        return targets;
    }

    private SetNode ParseSet(int position)
    {
        List<string> targets = ParseTargets();
        string? member = targets.Count == 1 && TryTake(".") ? ExpectName() : null;
        if (TryTake("="))
        {
            Expression value = ParseExpression();
            if (Current.Is(","))
            {
                List<Expression> items = [value];
                while (TryTake(","))
                {
                    items.Add(ParseExpression());
                }

                value = new ListExpression(position, items);
            }

            Expect("%}");
            return new SetNode(position, targets, member, value, []);
        }

        Expect("%}");
        return new SetNode(position, targets, member, null, ParseBlock(position, "endset"));
    }

    private MacroNode ParseMacro(int position)
    {
        string name = ExpectName();
        List<(string, Expression?)> parameters = [];
        Expect("(");
        while (!TryTake(")"))
        {
            string parameter = ExpectName();
            parameters.Add((parameter, TryTake("=") ? ParseExpression() : null));
            if (!Current.Is(")"))
            {
                Expect(",");
            }
        }

        Expect("%}");
        return new MacroNode(position, name, parameters, ParseBlock(position, "endmacro"));
    }
}
