namespace E2LLM.Tokenization.ChatTemplates;

/// <summary>Runs a parsed template once, within limits and with nothing in reach but its variables. Not thread-safe.</summary>
internal sealed class TemplateRenderer
{
    private const int MaxRangeCount = 100_000;
    private readonly ExpressionEvaluator _evaluator;
    private readonly ChatTemplateLimits _limits;
    private List<TemplateText> _output = [];
    private long _length;

    private TemplateRenderer(TemplateSource source, ChatTemplateLimits limits)
    {
        _evaluator = new ExpressionEvaluator(source, limits);
        _limits = limits;
    }

    private enum Jump
    {
        None,
        Break,
        Continue,
    }

    /// <summary>Renders.</summary>
    /// <exception cref="ChatTemplateException">The template refuses, does what is not possible, or exceeds a limit.</exception>
    public static TemplateText Render(TemplateSource source, IReadOnlyList<TemplateNode> nodes, Dictionary<string, object?> variables, ChatTemplateLimits limits, TimeProvider clock)
    {
        var renderer = new TemplateRenderer(source, limits);
        renderer._evaluator.Scopes.Add(new Dictionary<string, object?>(StringComparer.Ordinal)
        {
            ["raise_exception"] = (TemplateFunction)((arguments, _) => throw new TemplateFault($"the template refuses: {TemplateValue.ToText(arguments.Count > 0 ? arguments[0] : null)}")),
            ["namespace"] = (TemplateFunction)((_, named) => Fill(new TemplateMap { IsNamespace = true }, named)),
            ["dict"] = (TemplateFunction)((_, named) => Fill(new TemplateMap(), named)),
            ["strftime_now"] = (TemplateFunction)((arguments, _) => TemplateClock.Format(clock.GetLocalNow(), TemplateValue.ToText(arguments.Count > 0 ? arguments[0] : null).Text)),
            ["range"] = (TemplateFunction)((arguments, _) => Range(arguments)),
        });
        renderer._evaluator.Scopes.Add(variables);
        renderer.Run(nodes);
        return TemplateText.Join(renderer._output, TemplateText.Empty);
    }

    private static TemplateMap Fill(TemplateMap map, IReadOnlyDictionary<string, object?> named)
    {
        foreach ((string name, object? value) in named)
        {
            map[name] = value;
        }

        return map;
    }

    private static List<object?> Range(IReadOnlyList<object?> arguments)
    {
        long[] bounds = [.. arguments.Select(argument => argument is long number ? number : throw new TemplateFault("range() takes whole numbers."))];
        (long start, long stop, long step) = bounds.Length switch
        {
            1 => (0L, bounds[0], 1L), 2 => (bounds[0], bounds[1], 1L), 3 when bounds[2] != 0 => (bounds[0], bounds[1], bounds[2]), _ => throw new TemplateFault("range() takes one to three numbers, the third not 0."),
        };
        var numbers = new List<object?>();
        for (long at = start; step > 0 ? at < stop : at > stop; at += step)
        {
            numbers.Add(numbers.Count < MaxRangeCount ? at : throw new TemplateFault($"range() gives at most {MaxRangeCount} numbers."));
        }

        return numbers;
    }

    private Jump Run(IReadOnlyList<TemplateNode> nodes)
    {
        foreach (TemplateNode node in nodes)
        {
            _evaluator.Charge(node.Position, 1);
            Jump jump = node switch
            {
                TextNode text => Write(node.Position, TemplateText.OfTemplate(text.Text)),
                OutputNode output => Write(node.Position, Text(output.Value)),
                IfNode branch => _evaluator.Nested(node.Position, () => Run(TemplateValue.IsTrue(_evaluator.Evaluate(branch.Condition)) ? branch.Then : branch.Else)),
                ForNode loop => _evaluator.Nested(node.Position, () => RunLoop(loop)),
                SetNode set => RunSet(set),
                MacroNode macro => Define(macro),
                JumpNode leave => leave.IsBreak ? Jump.Break : Jump.Continue,
                _ => throw _evaluator.Error(node.Position, $"{node.GetType().Name} cannot be run."),
            };
            if (jump != Jump.None)
            {
                return jump;
            }
        }

        return Jump.None;
    }

    private TemplateText Text(Expression expression)
    {
        object? value = _evaluator.Evaluate(expression);
        return value is TemplateFunction ? throw _evaluator.Error(expression.Position, "a function has no text.") : TemplateValue.ToText(value);
    }

    private Jump Write(int position, TemplateText text)
    {
        _length += text.Length;
        if (_length > _limits.MaxOutputLength)
        {
            throw _evaluator.Error(position, $"the result has more than {_limits.MaxOutputLength} characters.");
        }

        _output.Add(text);
        return Jump.None;
    }

    private Jump RunLoop(ForNode loop)
    {
        List<object?> items = Guarded(loop.Position, () => TemplateValue.Items(_evaluator.Evaluate(loop.Items)).ToList());
        var scope = new Dictionary<string, object?>(StringComparer.Ordinal);
        _evaluator.Scopes.Add(scope);
        if (loop.Filter is not null)
        {
            items = items.FindAll(item =>
            {
                Assign(loop, scope, item);
                return TemplateValue.IsTrue(_evaluator.Evaluate(loop.Filter));
            });
        }

        for (int i = 0; i < items.Count; i++)
        {
            _evaluator.Charge(loop.Position, 1);
            scope.Clear();
            Assign(loop, scope, items[i]);
            scope["loop"] = new TemplateMap
            {
                ["index"] = i + 1L, ["index0"] = (long)i, ["first"] = i == 0, ["last"] = i == items.Count - 1, ["length"] = (long)items.Count,
                ["revindex"] = (long)items.Count - i, ["revindex0"] = items.Count - i - 1L,
                ["previtem"] = i > 0 ? items[i - 1] : TemplateUndefined.Value, ["nextitem"] = i + 1 < items.Count ? items[i + 1] : TemplateUndefined.Value,
            };
            if (Run(loop.Body) == Jump.Break)
            {
                break;
            }
        }

        _evaluator.Scopes.Remove(scope);
        return items.Count == 0 ? Run(loop.Else) : Jump.None;
    }

    private void Assign(ForNode loop, Dictionary<string, object?> scope, object? item)
    {
        if (loop.Targets.Count == 1)
        {
            scope[loop.Targets[0]] = item;
            return;
        }

        if (item is not List<object?> parts || parts.Count != loop.Targets.Count)
        {
            throw _evaluator.Error(loop.Position, $"an item has not the {loop.Targets.Count} parts that the loop names.");
        }

        for (int i = 0; i < parts.Count; i++)
        {
            scope[loop.Targets[i]] = parts[i];
        }
    }

    private Jump RunSet(SetNode set)
    {
        object? value = set.Value is not null ? _evaluator.Evaluate(set.Value) : Captured(() => Run(set.Body));
        if (set.Member is not null)
        {
            object? target = _evaluator.Evaluate(new NameExpression(set.Position, set.Targets[0]));
            if (target is not TemplateMap { IsNamespace: true } space)
            {
                throw _evaluator.Error(set.Position, $"'{set.Targets[0]}' is no namespace: its members cannot be set.");
            }

            space[set.Member] = value;
        }
        else if (set.Targets.Count == 1)
        {
            _evaluator.Scopes[^1][set.Targets[0]] = value;
        }
        else if (value is List<object?> parts && parts.Count == set.Targets.Count)
        {
            for (int i = 0; i < parts.Count; i++)
            {
                _evaluator.Scopes[^1][set.Targets[i]] = parts[i];
            }
        }
        else
        {
            throw _evaluator.Error(set.Position, $"the value has not {set.Targets.Count} parts.");
        }

        return Jump.None;
    }

    private Jump Define(MacroNode macro)
    {
        _evaluator.Scopes[^1][macro.Name] = (TemplateFunction)((arguments, named) => _evaluator.Nested(macro.Position, () =>
        {
            var scope = new Dictionary<string, object?>(StringComparer.Ordinal);
            for (int i = 0; i < macro.Parameters.Count; i++)
            {
                (string name, Expression? fallback) = macro.Parameters[i];
                scope[name] = i < arguments.Count ? arguments[i] : named.TryGetValue(name, out object? value) ? value
                    : fallback is not null ? _evaluator.Evaluate(fallback) : TemplateUndefined.Value;
            }

            // A macro sees the outermost names and its own, not those of whoever calls it.
            List<Dictionary<string, object?>> callers = [.. _evaluator.Scopes.Skip(2)];
            _evaluator.Scopes.RemoveRange(2, callers.Count);
            _evaluator.Scopes.Add(scope);
            TemplateText text = Captured(() => Run(macro.Body));
            _evaluator.Scopes.Remove(scope);
            _evaluator.Scopes.AddRange(callers);
            return text;
        }));
        return Jump.None;
    }

    private TemplateText Captured(Action run)
    {
        List<TemplateText> outer = _output;
        _output = [];
        run();
        TemplateText text = TemplateText.Join(_output, TemplateText.Empty);
        _output = outer;
        return text;
    }

    private T Guarded<T>(int position, Func<T> run)
    {
        try
        {
            return run();
        }
        catch (TemplateFault fault)
        {
            throw _evaluator.Error(position, fault.Message);
        }
    }
}
