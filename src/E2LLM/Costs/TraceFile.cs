using System.Globalization;
using System.Text.Json;

namespace E2LLM.Costs;

/// <summary>
/// Reads the columns of request traces: comma-separated text with a header line, or one JSON object per line.
/// Times may be seconds, ISO dates, or (JSON lines, as Mooncake publishes them) milliseconds under <c>timestamp</c>. Stateless.
/// </summary>
internal static class TraceFile
{
    private static readonly string[] TimeColumns = ["TIMESTAMP", "arrival_timestamp", "arrived_at", "Timestamp", "seconds"];

    public static int[] ReadCounts(string text, string column, string path)
    {
        var counts = new List<int>();
        foreach ((string value, int line) in Values(text, [column], path))
        {
            if (!double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) || !(number >= 0 && number <= int.MaxValue))
            {
                throw new DescriptionFormatException(path, $"line {line}: '{value}' is no token count.");
            }

            counts.Add((int)number);
        }

        return [.. counts];
    }

    public static double[] ReadSeconds(string text, string path)
    {
        bool json = text.AsSpan().TrimStart().StartsWith("{");
        var seconds = new List<double>();
        foreach ((string value, int line) in Values(text, json ? ["timestamp"] : TimeColumns, path))
        {
            if (double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out double number))
            {
                seconds.Add(json ? number / 1000 : number);
            }
            else if (DateTime.TryParse(value, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out DateTime time))
            {
                seconds.Add(time.Ticks / (double)TimeSpan.TicksPerSecond);
            }
            else
            {
                throw new DescriptionFormatException(path, $"line {line}: '{value}' is no time.");
            }
        }

        return [.. seconds];
    }

    private static IEnumerable<(string Value, int Line)> Values(string text, string[] columns, string path)
    {
        string[] lines = text.Split('\n');
        if (text.AsSpan().TrimStart().StartsWith("{"))
        {
            for (int i = 0; i < lines.Length; i++)
            {
                if (lines[i].AsSpan().Trim().Length > 0)
                {
                    yield return (JsonValue(lines[i], columns[0], i + 1, path), i + 1);
                }
            }

            yield break;
        }

        string[] header = lines[0].TrimStart('\uFEFF').TrimEnd('\r').Split(',');
        int column = -1;
        foreach (string name in columns)
        {
            column = column >= 0 ? column : Array.IndexOf(header, name);
        }

        if (column < 0)
        {
            throw new DescriptionFormatException(path, $"no column {string.Join(" or ", columns)}; the file has: {string.Join(", ", header)}.");
        }

        for (int i = 1; i < lines.Length; i++)
        {
            string line = lines[i].TrimEnd('\r');
            if (line.Length == 0)
            {
                continue;
            }

            string[] fields = line.Split(',');
            if (column >= fields.Length)
            {
                throw new DescriptionFormatException(path, $"line {i + 1} has {fields.Length} columns, column {column + 1} is needed.");
            }

            yield return (fields[column], i + 1);
        }
    }

    private static string JsonValue(string line, string column, int number, string path)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(line);
            return document.RootElement.ValueKind == JsonValueKind.Object && document.RootElement.TryGetProperty(column, out JsonElement value)
                ? value.ToString()
                : throw new DescriptionFormatException(path, $"line {number} has no '{column}'.");
        }
        catch (JsonException error)
        {
            throw new DescriptionFormatException(path, $"line {number}: {error.Message}", error);
        }
    }
}
