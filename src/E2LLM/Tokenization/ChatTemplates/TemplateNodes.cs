namespace E2LLM.Tokenization.ChatTemplates;

/// <summary>A part of a parsed template. Immutable; thread-safe.</summary>
internal abstract record TemplateNode(int Position);

internal sealed record TextNode(int Position, string Text) : TemplateNode(Position);

/// <summary><c>{{ value }}</c>.</summary>
internal sealed record OutputNode(int Position, Expression Value) : TemplateNode(Position);

/// <summary>One <c>if</c> or <c>elif</c> with what to do else.</summary>
internal sealed record IfNode(int Position, Expression Condition, IReadOnlyList<TemplateNode> Then, IReadOnlyList<TemplateNode> Else) : TemplateNode(Position);

internal sealed record ForNode(
    int Position, IReadOnlyList<string> Targets, Expression Items, Expression? Filter, IReadOnlyList<TemplateNode> Body, IReadOnlyList<TemplateNode> Else) : TemplateNode(Position);

/// <summary><c>set name = value</c>, <c>set space.name = value</c>, or, without a value, a block whose output is the value.</summary>
internal sealed record SetNode(int Position, IReadOnlyList<string> Targets, string? Member, Expression? Value, IReadOnlyList<TemplateNode> Body) : TemplateNode(Position);

internal sealed record MacroNode(int Position, string Name, IReadOnlyList<(string Name, Expression? Default)> Parameters, IReadOnlyList<TemplateNode> Body) : TemplateNode(Position);

/// <summary><c>break</c> or <c>continue</c>.</summary>
internal sealed record JumpNode(int Position, bool IsBreak) : TemplateNode(Position);

/// <summary>Something with a value.</summary>
internal abstract record Expression(int Position);

internal sealed record LiteralExpression(int Position, object? Value) : Expression(Position);

internal sealed record NameExpression(int Position, string Name) : Expression(Position);

internal sealed record ListExpression(int Position, IReadOnlyList<Expression> Items) : Expression(Position);

internal sealed record DictionaryExpression(int Position, IReadOnlyList<(Expression Key, Expression Value)> Items) : Expression(Position);

internal sealed record MemberExpression(int Position, Expression Target, string Name) : Expression(Position);

internal sealed record IndexExpression(int Position, Expression Target, Expression Index) : Expression(Position);

internal sealed record SliceExpression(int Position, Expression Target, Expression? Start, Expression? Stop, Expression? Step) : Expression(Position);

/// <summary>A call; of a filter or a test the first argument is what stands before it.</summary>
internal sealed record CallExpression(int Position, Expression Target, IReadOnlyList<Expression> Arguments, IReadOnlyList<(string Name, Expression Value)> Named) : Expression(Position);

internal sealed record FilterExpression(int Position, string Name, Expression Target, IReadOnlyList<Expression> Arguments, IReadOnlyList<(string Name, Expression Value)> Named) : Expression(Position);

internal sealed record TestExpression(int Position, string Name, Expression Target, IReadOnlyList<Expression> Arguments, bool IsNegated) : Expression(Position);

internal sealed record UnaryExpression(int Position, string Operator, Expression Operand) : Expression(Position);

internal sealed record BinaryExpression(int Position, string Operator, Expression Left, Expression Right) : Expression(Position);

internal sealed record ConditionalExpression(int Position, Expression Condition, Expression Then, Expression? Else) : Expression(Position);
