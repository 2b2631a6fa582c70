using System.Text.Json;

namespace E2LLM;

/// <summary>
/// One JSON object being read by hand: every property is asked for by name, and <see cref="End"/> rejects what nobody asked for
/// (a property called <c>comment</c> is always allowed). Every failure is a <see cref="DescriptionFormatException"/> with the path. No reflection.
/// </summary>
internal sealed class JsonObjectView
{
    private readonly Dictionary<string, JsonElement> _properties = new(StringComparer.Ordinal);
    private readonly HashSet<string> _asked = new(StringComparer.Ordinal) { "comment" };

    public JsonObjectView(JsonElement element, string path)
    {
        Path = path;
        if (element.ValueKind != JsonValueKind.Object)
        {
            throw new DescriptionFormatException(path, $"expected an object, found {Kind(element)}.");
        }

        foreach (JsonProperty property in element.EnumerateObject())
        {
            if (!_properties.TryAdd(property.Name, property.Value))
            {
                throw new DescriptionFormatException($"{path}.{property.Name}", "the property is given twice.");
            }
        }
    }

    public string Path { get; }

    /// <summary>Parses <paramref name="json"/> and hands its root to <paramref name="read"/>.</summary>
    public static T Parse<T>(string json, Func<JsonObjectView, T> read)
    {
        ArgumentNullException.ThrowIfNull(json);
        try
        {
            using JsonDocument document = JsonDocument.Parse(
                json, new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Disallow, MaxDepth = 32 });
            return read(new JsonObjectView(document.RootElement, "$"));
        }
        catch (JsonException error)
        {
            throw new DescriptionFormatException("$", $"not JSON: {error.Message}", error);
        }
        catch (InvalidOperationException error)
        {
            // JsonElement.GetString on text with a lone surrogate: valid JSON grammar, no valid text.
            throw new DescriptionFormatException("$", $"not valid text: {error.Message}", error);
        }
    }

    public bool Has(string name)
    {
        _asked.Add(name);
        return _properties.TryGetValue(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null;
    }

    public string PathOf(string name) => $"{Path}.{name}";

    public string String(string name) => Required(name) is { ValueKind: JsonValueKind.String } value
        ? value.GetString()!
        : throw Wrong(name, "a string");

    public string String(string name, string fallback) => Has(name) ? String(name) : fallback;

    public double Number(string name) => AsNumber(Required(name), PathOf(name));

    public double Number(string name, double fallback) => Has(name) ? Number(name) : fallback;

    public long Integer(string name) => AsInteger(Required(name), PathOf(name));

    public long Integer(string name, long fallback) => Has(name) ? Integer(name) : fallback;

    public int Count(string name)
    {
        long value = Integer(name);
        return value is >= int.MinValue and <= int.MaxValue
            ? (int)value
            : throw new DescriptionFormatException(PathOf(name), $"{value} is too large for a count.");
    }

    public int Count(string name, int fallback) => Has(name) ? Count(name) : fallback;

    public bool Flag(string name, bool fallback)
    {
        if (!Has(name))
        {
            return fallback;
        }

        return Required(name).ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw Wrong(name, "true or false"),
        };
    }

    public JsonObjectView Object(string name) => new(Required(name), PathOf(name));

    public T[] Array<T>(string name, Func<JsonElement, string, T> read)
    {
        JsonElement value = Required(name);
        if (value.ValueKind != JsonValueKind.Array)
        {
            throw Wrong(name, "an array");
        }

        var items = new T[value.GetArrayLength()];
        int index = 0;
        foreach (JsonElement item in value.EnumerateArray())
        {
            items[index] = read(item, $"{PathOf(name)}[{index}]");
            index++;
        }

        return items;
    }

    public T[] OptionalArray<T>(string name, Func<JsonElement, string, T> read) => Has(name) ? Array(name, read) : [];

    /// <summary>An enumeration written in camelCase or as its member is named; compared without case.</summary>
    public T Choice<T>(string name, string text)
        where T : struct, Enum
    {
        foreach (T value in Enum.GetValues<T>())
        {
            if (string.Equals(value.ToString(), text, StringComparison.OrdinalIgnoreCase))
            {
                return value;
            }
        }

        throw new DescriptionFormatException(PathOf(name), $"'{text}' is none of: {string.Join(", ", Enum.GetNames<T>())}.");
    }

    /// <summary>Fails when a property is left that nobody asked for.</summary>
    public void End()
    {
        foreach (string name in _properties.Keys)
        {
            if (!_asked.Contains(name))
            {
                _asked.Remove("comment");
                throw new DescriptionFormatException(PathOf(name), $"unknown property '{name}'; known here: {string.Join(", ", _asked)}.");
            }
        }
    }

    public static double AsNumber(JsonElement value, string path) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number)
            ? number
            : throw new DescriptionFormatException(path, $"expected a number, found {Kind(value)}.");

    public static long AsInteger(JsonElement value, string path)
    {
        if (value.ValueKind == JsonValueKind.Number)
        {
            if (value.TryGetInt64(out long whole))
            {
                return whole;
            }

            // 1e9 is a whole number too; beyond 2^53 a double no longer says which.
            if (value.TryGetDouble(out double number) && Math.Abs(number) <= 1L << 53 && Math.Floor(number) == number)
            {
                return (long)number;
            }
        }

        throw new DescriptionFormatException(path, $"expected a whole number, found {Kind(value)}.");
    }

    public static string AsString(JsonElement value, string path) => value.ValueKind == JsonValueKind.String
        ? value.GetString()!
        : throw new DescriptionFormatException(path, $"expected a string, found {Kind(value)}.");

    private JsonElement Required(string name) =>
        Has(name) ? _properties[name] : throw new DescriptionFormatException(PathOf(name), "the property is missing.");

    private DescriptionFormatException Wrong(string name, string expected) =>
        new(PathOf(name), $"expected {expected}, found {Kind(_properties[name])}.");

    private static string Kind(JsonElement value)
    {
        string text = value.GetRawText();
        return $"{value.ValueKind.ToString().ToLowerInvariant()} {(text.Length <= 40 ? text : text[..40] + "...")}";
    }
}
