using System.Globalization;
using System.Text;

namespace E2LLM.Tokenization.ChatTemplates;

/// <summary>A name that stands for nothing. Prints as nothing and counts as false; anything else done with it is an error.</summary>
internal sealed class TemplateUndefined
{
    private TemplateUndefined()
    {
    }

    public static TemplateUndefined Value { get; } = new();
}

/// <summary>A dictionary of a template, in the order of insertion; also what <c>namespace()</c> gives, and <c>loop</c>.</summary>
internal sealed class TemplateMap : OrderedDictionary<string, object?>
{
    public TemplateMap()
        : base(StringComparer.Ordinal)
    {
    }

    /// <summary>Whether <c>set</c> may change members.</summary>
    public bool IsNamespace { get; init; }
}

/// <summary>Something that a template may call. Faults are thrown as <see cref="TemplateFault"/>; the caller knows the place.</summary>
internal delegate object? TemplateFunction(IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named);

/// <summary>What is wrong, before its place in the template is known.</summary>
internal sealed class TemplateFault(string message) : Exception(message);

/// <summary>What values are worth: truth, text, equality, order. Values are null, <see cref="TemplateUndefined"/>, bool, long, double, <see cref="TemplateText"/>, List, <see cref="TemplateMap"/> and functions.</summary>
internal static class TemplateValue
{
    public static bool IsTrue(object? value) => value switch
    {
        null or TemplateUndefined => false,
        bool flag => flag,
        long number => number != 0,
        double number => number != 0,
        TemplateText text => text.Length > 0,
        List<object?> list => list.Count > 0,
        TemplateMap map => map.Count > 0 || map.IsNamespace,
        _ => true,
    };

    public static TemplateText ToText(object? value) => value switch
    {
        TemplateText text => text,
        TemplateUndefined => TemplateText.Empty,
        null => TemplateText.OfTemplate("None"),
        bool flag => TemplateText.OfTemplate(flag ? "True" : "False"),
        long number => TemplateText.OfTemplate(number.ToString(CultureInfo.InvariantCulture)),
        double number => TemplateText.OfTemplate(NumberText(number)),
        List<object?> or TemplateMap => TemplateText.OfData(TemplateJson.Write(value, null)),
        _ => throw new TemplateFault("a function has no text."),
    };

    public static bool AreEqual(object? a, object? b)
    {
        // Lists that hold a list twice, and so on, are small in memory and endless to walk.
        int budget = 1_000_000;
        return AreEqual(a, b, ref budget);
    }

    public static int Compare(object? a, object? b) => (a, b) switch
    {
        (long x, long y) => x.CompareTo(y),
        (long or double, long or double) => ToDouble(a).CompareTo(ToDouble(b)),
        (TemplateText x, TemplateText y) => string.CompareOrdinal(x.Text, y.Text),
        _ => throw new TemplateFault($"{Kind(a)} and {Kind(b)} have no order."),
    };

    public static bool Contains(object? container, object? item) => container switch
    {
        TemplateText text when item is TemplateText part => text.Text.Contains(part.Text, StringComparison.Ordinal),
        List<object?> list => list.Exists(element => AreEqual(element, item)),
        TemplateMap map => item is TemplateText key && map.ContainsKey(key.Text),
        TemplateUndefined => false,
        _ => throw new TemplateFault($"{Kind(container)} holds no {Kind(item)}."),
    };

    /// <summary>What a loop runs over: a dictionary's keys, a text's characters.</summary>
    public static List<object?> Items(object? value) => value switch
    {
        List<object?> list => list,
        TemplateMap map => [.. map.Keys.Select(TemplateText.OfData)],
        TemplateText text => [.. Enumerable.Range(0, text.Length).Select(i => text.Slice(i, 1))],
        TemplateUndefined => [],
        _ => throw new TemplateFault($"{Kind(value)} cannot be looped over."),
    };

    public static double ToDouble(object? value) => value switch
    {
        long number => number,
        double number => number,
        _ => throw new TemplateFault($"{Kind(value)} is no number."),
    };

    public static string Kind(object? value) => value switch
    {
        null => "none", TemplateUndefined => "an undefined value", bool => "a boolean", long or double => "a number", TemplateText => "a string", List<object?> => "a list",
        TemplateMap => "a dictionary", _ => "a function",
    };

    private static bool AreEqual(object? a, object? b, ref int budget)
    {
        if (--budget < 0)
        {
            throw new TemplateFault("the lists are too large to be compared.");
        }

        switch (a, b)
        {
            case (bool x, bool y):
                return x == y;
            case (bool, _) or (_, bool):
                return false;
            case (long or double, long or double):
                return ToDouble(a) == ToDouble(b);
            case (List<object?> x, List<object?> y):
                bool same = x.Count == y.Count;
                for (int i = 0; same && i < x.Count; i++)
                {
                    same = AreEqual(x[i], y[i], ref budget);
                }

                return same;
            case (TemplateMap x, TemplateMap y):
                bool equal = x.Count == y.Count;
                foreach ((string key, object? value) in x)
                {
                    equal = equal && y.TryGetValue(key, out object? other) && AreEqual(value, other, ref budget);
                }

                return equal;
            default:
                return Equals(a, b);
        }
    }

    private static string NumberText(double number)
    {
        string text = number.ToString("R", CultureInfo.InvariantCulture);
        return double.IsFinite(number) && double.IsInteger(number) && !text.Contains('E', StringComparison.Ordinal) ? text + ".0" : text;
    }
}

/// <summary>The filter <c>tojson</c>: separators and escapes as Python's json module writes them, which models were trained on.</summary>
internal static class TemplateJson
{
    private const int MaxDepth = 32;

    public static string Write(object? value, int? indent)
    {
        var output = new StringBuilder();
        Write(output, value, indent, 0);
        return output.ToString();
    }

    private static void Write(StringBuilder output, object? value, int? indent, int depth)
    {
        if (depth > MaxDepth || output.Length > TemplateText.MaxLength)
        {
            throw new TemplateFault($"JSON has at most {MaxDepth} lists and dictionaries inside each other and {TemplateText.MaxLength} characters.");
        }

        switch (value)
        {
            case null or TemplateUndefined:
                output.Append("null");
                break;
            case bool flag:
                output.Append(flag ? "true" : "false");
                break;
            case TemplateText text:
                WriteString(output, text.Text);
                break;
            case List<object?> list:
                WriteItems(output, '[', ']', list, indent, depth, item => Write(output, item, indent, depth + 1));
                break;
            case TemplateMap map:
                WriteItems(output, '{', '}', map, indent, depth, pair =>
                {
                    WriteString(output, pair.Key);
                    output.Append(": ");
                    Write(output, pair.Value, indent, depth + 1);
                });
                break;
            default:
                output.Append(TemplateValue.ToText(value).Text);
                break;
        }
    }

    private static void WriteItems<T>(StringBuilder output, char open, char close, IReadOnlyCollection<T> items, int? indent, int depth, Action<T> write)
    {
        output.Append(open);
        int count = 0;
        foreach (T item in items)
        {
            output.Append(count++ == 0 ? "" : indent is null ? ", " : ",");
            NewLine(depth + 1);
            write(item);
        }

        if (count > 0)
        {
            NewLine(depth);
        }

        output.Append(close);

        void NewLine(int level)
        {
            if (indent is { } width)
            {
                output.Append('\n').Append(' ', width * level);
            }
        }
    }

    private static void WriteString(StringBuilder output, string text)
    {
        output.Append('"');
        foreach (char c in text)
        {
            _ = c switch
            {
                '"' => output.Append("\\\""),
                '\\' => output.Append("\\\\"),
                '\n' => output.Append("\\n"),
                '\r' => output.Append("\\r"),
                '\t' => output.Append("\\t"),
                '\b' => output.Append("\\b"),
                '\f' => output.Append("\\f"),
                < ' ' => output.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
                _ => output.Append(c),
            };
        }

        output.Append('"');
    }
}
