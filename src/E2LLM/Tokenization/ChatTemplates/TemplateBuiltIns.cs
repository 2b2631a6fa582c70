namespace E2LLM.Tokenization.ChatTemplates;

/// <summary>Filters, tests and methods that templates may use. None sees anything but its arguments. Stateless; thread-safe.</summary>
internal static class TemplateBuiltIns
{
    public static object? Filter(string name, object? value, IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named)
    {
        switch (name)
        {
            case "trim":
                return Text(value).Trim(arguments.Count > 0 ? Text(arguments[0]).Text : null, start: true, end: true);
            case "upper" or "lower" or "capitalize" or "title" or "replace" or "split":
                return Method(Text(value), name, arguments);
            case "string":
                return TemplateValue.ToText(value);
            case "length" or "count":
                return (long)(value is TemplateText text ? text.Length : value is TemplateMap map ? map.Count : TemplateValue.Items(value).Count);
            case "first":
                return TemplateValue.Items(value) is [var first, ..] ? first : TemplateUndefined.Value;
            case "last":
                return TemplateValue.Items(value) is [.., var last] ? last : TemplateUndefined.Value;
            case "list":
                return TemplateValue.Items(value).ToList();
            case "reverse":
                return value is TemplateText ? throw new TemplateFault("texts are not reversed.") : Enumerable.Reverse(TemplateValue.Items(value)).ToList();
            case "join":
                return TemplateText.Join([.. TemplateValue.Items(value).Select(TemplateValue.ToText)], arguments.Count > 0 ? Text(arguments[0]) : TemplateText.Empty);
            case "default" or "d":
                return value is TemplateUndefined || (arguments.Count > 1 && TemplateValue.IsTrue(arguments[1]) && !TemplateValue.IsTrue(value))
                    ? arguments.Count > 0 ? arguments[0] : TemplateText.Empty : value;
            case "tojson":
                object? indent = named.GetValueOrDefault("indent") ?? (arguments.Count > 0 ? arguments[0] : null);
                return TemplateText.OfData(TemplateJson.Write(value, indent is long width and >= 0 and <= 16 ? (int)width : null));
            case "items":
                return Items(value);
            case "int":
                return value is TemplateText digits ? long.TryParse(digits.Text, System.Globalization.CultureInfo.InvariantCulture, out long number) ? number : 0L : (long)TemplateValue.ToDouble(value);
            case "abs":
                return value is long whole ? (object)Math.Abs(whole) : Math.Abs(TemplateValue.ToDouble(value));
            case "safe":
                return value;
            case "selectattr" or "rejectattr" or "map":
                return ByAttribute(name, TemplateValue.Items(value), arguments, named);
            default:
                throw new TemplateFault($"the filter '{name}' is not supported.");
        }
    }

    public static bool Test(string name, object? value, IReadOnlyList<object?> arguments) => name switch
    {
        "defined" => value is not TemplateUndefined,
        "undefined" => value is TemplateUndefined,
        "none" => value is null,
        "string" => value is TemplateText,
        "boolean" => value is bool,
        "true" => value is true,
        "false" => value is false,
        "number" => value is long or double,
        "integer" => value is long,
        "float" => value is double,
        "mapping" => value is TemplateMap,
        "iterable" => value is List<object?> or TemplateMap or TemplateText,
        "sequence" => value is List<object?> or TemplateMap or TemplateText,
        "callable" => value is TemplateFunction,
        "odd" => TemplateValue.ToDouble(value) % 2 != 0,
        "even" => TemplateValue.ToDouble(value) % 2 == 0,
        "in" => TemplateValue.Contains(One(name, arguments), value),
        "equalto" or "eq" or "sameas" => TemplateValue.AreEqual(value, One(name, arguments)),
        "ne" => !TemplateValue.AreEqual(value, One(name, arguments)),
        "divisibleby" => TemplateValue.ToDouble(value) % TemplateValue.ToDouble(One(name, arguments)) == 0,
        _ => throw new TemplateFault($"the test '{name}' is not supported."),
    };

    /// <summary>A method of a text or a dictionary.</summary>
    public static object? Method(object? target, string name, IReadOnlyList<object?> arguments) => (target, name) switch
    {
        (TemplateText text, "strip") => text.Trim(Characters(arguments), start: true, end: true),
        (TemplateText text, "lstrip") => text.Trim(Characters(arguments), start: true, end: false),
        (TemplateText text, "rstrip") => text.Trim(Characters(arguments), start: false, end: true),
        (TemplateText text, "startswith") => text.Text.StartsWith(Text(One(name, arguments)).Text, StringComparison.Ordinal),
        (TemplateText text, "endswith") => text.Text.EndsWith(Text(One(name, arguments)).Text, StringComparison.Ordinal),
        (TemplateText text, "upper") => text.Map(static s => s.ToUpperInvariant()),
        (TemplateText text, "lower") => text.Map(static s => s.ToLowerInvariant()),
        (TemplateText text, "capitalize") => text.Map(static s => s.Length == 0 ? s : char.ToUpperInvariant(s[0]) + s[1..].ToLowerInvariant()),
        (TemplateText text, "title") => text.Map(static s => System.Globalization.CultureInfo.InvariantCulture.TextInfo.ToTitleCase(s.ToLowerInvariant())),
        (TemplateText text, "split") => Split(text, arguments),
        (TemplateText text, "replace") when arguments.Count >= 2 && Text(arguments[0]).Length > 0 => TemplateText.Join(text.Split(Text(arguments[0]).Text), Text(arguments[1])),
        (TemplateText text, "find") => (long)text.Text.IndexOf(Text(One(name, arguments)).Text, StringComparison.Ordinal),
        (TemplateText text, "count") => (long)text.Split(Text(One(name, arguments)).Text).Count - 1,
        (TemplateMap map, "get") => arguments.Count > 0 && map.TryGetValue(Text(arguments[0]).Text, out object? value) ? value : arguments.Count > 1 ? arguments[1] : null,
        (TemplateMap map, "items") => Items(map),
        (TemplateMap map, "keys") => TemplateValue.Items(map),
        (TemplateMap map, "values") => map.Values.ToList(),
        _ => throw new TemplateFault($"{TemplateValue.Kind(target)} has no method '{name}' here."),
    };

    private static List<object?> Split(TemplateText text, IReadOnlyList<object?> arguments)
    {
        if (arguments.Count > 0 && arguments[0] is TemplateText { Length: > 0 } separator)
        {
            return [.. text.Split(separator.Text, arguments.Count > 1 ? (int)Math.Clamp(TemplateValue.ToDouble(arguments[1]), 0, int.MaxValue) : int.MaxValue)];
        }

        // Without a separator: words between white space.
        var words = new List<object?>();
        for (int start = 0, end; start < text.Length; start = end)
        {
            for (end = start; end < text.Length && char.IsWhiteSpace(text.Text[end]) == char.IsWhiteSpace(text.Text[start]); end++)
            {
            }

            if (!char.IsWhiteSpace(text.Text[start]))
            {
                words.Add(text.Slice(start, end - start));
            }
        }

        return words;
    }

    private static List<object?> Items(object? value) => value is TemplateMap map
        ? [.. map.Select(pair => (object?)new List<object?> { TemplateText.OfData(pair.Key), pair.Value })]
        : throw new TemplateFault($"{TemplateValue.Kind(value)} has no items.");

    private static List<object?> ByAttribute(string name, List<object?> items, IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named)
    {
        if (name == "map")
        {
            return named.TryGetValue("attribute", out object? attribute)
                ? [.. items.Select(item => Member(item, Text(attribute).Text))]
                : [.. items.Select(item => Filter(Text(One(name, arguments)).Text, item, [.. arguments.Skip(1)], named))];
        }

        string member = Text(arguments.Count > 0 ? arguments[0] : null).Text;
        bool Holds(object? item) => arguments.Count < 2 ? TemplateValue.IsTrue(Member(item, member))
            : Text(arguments[1]).Text is "==" ? TemplateValue.AreEqual(Member(item, member), arguments[2]) : Test(Text(arguments[1]).Text, Member(item, member), [.. arguments.Skip(2)]);
        return [.. items.Where(item => Holds(item) == (name == "selectattr"))];
    }

    private static object? Member(object? item, string name) => item is TemplateMap map && map.TryGetValue(name, out object? value) ? value : TemplateUndefined.Value;

    private static string? Characters(IReadOnlyList<object?> arguments) => arguments.Count > 0 ? Text(arguments[0]).Text : null;

    private static object? One(string name, IReadOnlyList<object?> arguments) => arguments.Count > 0 ? arguments[0] : throw new TemplateFault($"'{name}' needs an argument.");

    private static TemplateText Text(object? value) => value as TemplateText ?? throw new TemplateFault($"{TemplateValue.Kind(value)} is no string.");
}
