namespace E2LLM.Tokenization.ChatTemplates;

/// <summary>Evaluates expressions within limits. One for each rendering; not thread-safe.</summary>
internal sealed class ExpressionEvaluator(TemplateSource source, ChatTemplateLimits limits)
{
    private static readonly Dictionary<string, object?> NoNames = [];
    private long _steps;
    private int _depth;

    /// <summary>The names that are known, innermost last.</summary>
    public List<Dictionary<string, object?>> Scopes { get; } = [];

    public ChatTemplateException Error(int position, string message) => source.Error(position, message);

    /// <summary>Runs something that may contain itself.</summary>
    public T Nested<T>(int position, Func<T> run)
    {
        if (++_depth > limits.MaxDepth)
        {
            throw source.Error(position, $"more than {limits.MaxDepth} expressions and calls inside each other.");
        }

        T result = run();
        _depth--;
        return result;
    }

    /// <summary>Pays for work.</summary>
    public void Charge(int position, long steps)
    {
        _steps += steps;
        if (_steps > limits.MaxStepCount)
        {
            throw source.Error(position, $"the template takes more than {limits.MaxStepCount} steps.");
        }
    }

    public object? Evaluate(Expression expression) => Nested(expression.Position, () =>
    {
        Charge(expression.Position, 1);
        try
        {
            object? value = Compute(expression);
            Charge(expression.Position, value is TemplateText text ? text.Length / 16 : value is List<object?> list ? list.Count : 0);
            return value is TemplateText { Length: var length } && length > limits.MaxOutputLength
                ? throw new TemplateFault($"a text has {length} characters; {limits.MaxOutputLength} at most.") : value;
        }
        catch (TemplateFault fault)
        {
            throw source.Error(expression.Position, fault.Message);
        }
    });

    private object? Compute(Expression expression)
    {
        switch (expression)
        {
            case LiteralExpression literal:
                return literal.Value;
            case NameExpression name:
                return Scopes.FindLast(scope => scope.ContainsKey(name.Name)) is { } found ? found[name.Name] : TemplateUndefined.Value;
            case ListExpression list:
                return list.Items.Select(Evaluate).ToList();
            case DictionaryExpression dictionary:
                var map = new TemplateMap();
                foreach ((Expression key, Expression value) in dictionary.Items)
                {
                    map[TemplateValue.ToText(Evaluate(key)).Text] = Evaluate(value);
                }

                return map;
            case MemberExpression member:
                return Member(Evaluate(member.Target), member.Name);
            case IndexExpression index:
                return Index(Evaluate(index.Target), Evaluate(index.Index));
            case SliceExpression slice:
                return Slice(slice);
            case CallExpression call:
                return Call(call);
            case FilterExpression filter:
                return TemplateBuiltIns.Filter(filter.Name, Evaluate(filter.Target), Arguments(filter.Arguments), Named(filter.Named));
            case TestExpression test:
                return TemplateBuiltIns.Test(test.Name, Evaluate(test.Target), Arguments(test.Arguments)) != test.IsNegated;
            case UnaryExpression unary:
                object? operand = Evaluate(unary.Operand);
                return unary.Operator == "not" ? !TemplateValue.IsTrue(operand)
                    : operand is long number ? (object)(unary.Operator == "-" ? -number : number)
                    : unary.Operator == "-" ? -TemplateValue.ToDouble(operand) : TemplateValue.ToDouble(operand);
            case BinaryExpression binary:
                return Binary(binary);
            case ConditionalExpression conditional:
                return TemplateValue.IsTrue(Evaluate(conditional.Condition)) ? Evaluate(conditional.Then)
                    : conditional.Else is null ? TemplateUndefined.Value : Evaluate(conditional.Else);
            default:
                throw new TemplateFault($"{expression.GetType().Name} cannot be evaluated.");
        }
    }

    private static object? Member(object? target, string name) => target switch
    {
        TemplateMap map => map.TryGetValue(name, out object? value) ? value : TemplateUndefined.Value,
        TemplateUndefined => throw new TemplateFault($"an undefined value has no '{name}'."),
        List<object?> list when int.TryParse(name, out int index) => Index(list, (long)index),
        _ => TemplateUndefined.Value,
    };

    private static object? Index(object? target, object? index) => (target, index) switch
    {
        (List<object?> list, long at) => at < list.Count && at >= -list.Count ? list[(int)(at < 0 ? at + list.Count : at)] : TemplateUndefined.Value,
        (TemplateText text, long at) => at < text.Length && at >= -text.Length ? text.Slice((int)(at < 0 ? at + text.Length : at), 1) : TemplateUndefined.Value,
        (TemplateMap or TemplateUndefined, TemplateText name) => Member(target, name.Text),
        _ => throw new TemplateFault($"{TemplateValue.Kind(target)} has no place {TemplateValue.Kind(index)}."),
    };

    private object? Slice(SliceExpression slice)
    {
        object? target = Evaluate(slice.Target);
        int count = target is TemplateText text ? text.Length : target is List<object?> list ? list.Count : throw new TemplateFault($"{TemplateValue.Kind(target)} cannot be cut.");
        long step = Bound(slice.Step) ?? 1;
        if (step == 0)
        {
            throw new TemplateFault("a step of 0 leads nowhere.");
        }

        long start = Place(Bound(slice.Start), step > 0 ? 0 : count - 1), stop = Place(Bound(slice.Stop), step > 0 ? count : -1);
        if (target is TemplateText whole && step == 1)
        {
            return whole.Slice((int)start, (int)Math.Max(stop - start, 0));
        }

        var chosen = new List<object?>();
        List<object?> items = TemplateValue.Items(target);
        for (long at = start; step > 0 ? at < stop : at > stop; at += step)
        {
            chosen.Add(items[(int)at]);
        }

        return target is TemplateText ? TemplateText.Join([.. chosen.Cast<TemplateText>()], TemplateText.Empty) : chosen;

        long? Bound(Expression? bound) => bound is null ? null : Evaluate(bound) switch
        {
            long number => number, null => null, object other => throw new TemplateFault($"{TemplateValue.Kind(other)} is no place."),
        };

        long Place(long? place, long fallback) => place is not { } at ? fallback
            : step > 0 ? Math.Clamp(at < 0 ? at + count : at, 0, count) : Math.Clamp(at < 0 ? at + count : at, -1, count - 1);
    }

    private object? Call(CallExpression call)
    {
        // A method is a member that is called; a dictionary's own entry goes first, as a function it holds would.
        if (call.Target is MemberExpression member)
        {
            object? target = Evaluate(member.Target);
            if (target is not TemplateMap { } map || !map.TryGetValue(member.Name, out object? own) || own is not TemplateFunction function)
            {
                return TemplateBuiltIns.Method(target, member.Name, Arguments(call.Arguments));
            }

            return function(Arguments(call.Arguments), Named(call.Named));
        }

        return Evaluate(call.Target) is TemplateFunction named
            ? named(Arguments(call.Arguments), Named(call.Named))
            : throw new TemplateFault(call.Target is NameExpression { Name: var name } ? $"there is no function '{name}'." : "what is called is no function.");
    }

    private object? Binary(BinaryExpression binary)
    {
        object? left = Evaluate(binary.Left);
        if (binary.Operator is "and" or "or")
        {
            return TemplateValue.IsTrue(left) == (binary.Operator == "and") ? Evaluate(binary.Right) : left;
        }

        object? right = Evaluate(binary.Right);
        return binary.Operator switch
        {
            "==" => TemplateValue.AreEqual(left, right),
            "!=" => !TemplateValue.AreEqual(left, right),
            "<" => TemplateValue.Compare(left, right) < 0,
            "<=" => TemplateValue.Compare(left, right) <= 0,
            ">" => TemplateValue.Compare(left, right) > 0,
            ">=" => TemplateValue.Compare(left, right) >= 0,
            "in" => TemplateValue.Contains(right, left),
            "~" => TemplateText.Join([TemplateValue.ToText(left), TemplateValue.ToText(right)], TemplateText.Empty),
            "+" when left is TemplateText a && right is TemplateText b => TemplateText.Join([a, b], TemplateText.Empty),
            "+" when left is List<object?> a && right is List<object?> b => a.Concat(b).ToList(),
            _ => Arithmetic(binary.Operator, left, right),
        };
    }

    private static object? Arithmetic(string operation, object? left, object? right)
    {
        if (left is long a && right is long b && operation != "/")
        {
            return operation switch
            {
                "+" => unchecked(a + b),
                "-" => unchecked(a - b),
                "*" => unchecked(a * b),
                _ when b is 0 or -1 => b == 0 ? throw new TemplateFault("division by zero.") : operation == "%" ? 0L : unchecked(-a),
                "%" => ((a % b) + b) % b,
                _ => (a / b) - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0),
            };
        }

        if (left is not (long or double) || right is not (long or double))
        {
            throw new TemplateFault($"'{operation}' does not work on {TemplateValue.Kind(left)} and {TemplateValue.Kind(right)}.");
        }

        double x = TemplateValue.ToDouble(left), y = TemplateValue.ToDouble(right);
        return operation switch
        {
            "+" => x + y, "-" => x - y, "*" => x * y,
            _ when y == 0 => throw new TemplateFault("division by zero."),
            "/" => x / y, "//" => Math.Floor(x / y), _ => x - (y * Math.Floor(x / y)),
        };
    }

    private List<object?> Arguments(IReadOnlyList<Expression> arguments) => [.. arguments.Select(Evaluate)];

    private Dictionary<string, object?> Named(IReadOnlyList<(string Name, Expression Value)> named) =>
        named.Count == 0 ? NoNames : named.ToDictionary(pair => pair.Name, pair => Evaluate(pair.Value), StringComparer.Ordinal);
}
