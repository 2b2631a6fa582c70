using System.Globalization;
using System.Text;
using System.Text.Json;

namespace E2LLM.Simulation.Workloads;

/// <summary>
/// Reads recorded requests, lengths and times together: the Azure LLM inference traces (<c>TIMESTAMP,ContextTokens,GeneratedTokens</c>), Mooncake's JSON lines
/// (<c>timestamp</c> in milliseconds, <c>input_length</c>, <c>output_length</c>), splitwise-sim's CSV, and our own (<c>arrivalSeconds, promptTokens, outputTokens</c>
/// as CSV with a header or as JSON lines). Times count from the first request; out-of-order lines are sorted, equal times keep their order. Stateless.
/// </summary>
public static class RequestTrace
{
    // Column names of each known format: time, prompt, output; and seconds per unit of time.
    private static readonly (string Time, string Prompt, string Output, double UnitSeconds)[] Formats =
    [
        ("arrivalSeconds", "promptTokens", "outputTokens", 1),
        ("TIMESTAMP", "ContextTokens", "GeneratedTokens", 1),
        ("timestamp", "input_length", "output_length", 1e-3),
        ("arrival_timestamp", "prompt_size", "token_size", 1),
    ];

    /// <summary>Reads a trace.</summary>
    /// <param name="reader">The text; read to its end, or to <paramref name="maximumCount"/> requests.</param>
    /// <param name="maximumCount">Most requests to read.</param>
    /// <exception cref="RequestTraceFormatException">A line is malformed; the exception has line and column.</exception>
    public static IReadOnlyList<SimulatedRequest> Read(TextReader reader, int maximumCount = int.MaxValue)
    {
        ArgumentNullException.ThrowIfNull(reader);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maximumCount);
        var requests = new List<SimulatedRequest>();
        string? first = reader.ReadLine()?.TrimStart('\uFEFF');
        if (first is null || first.AsSpan().Trim().IsEmpty)
        {
            throw new RequestTraceFormatException(1, 1, "the trace is empty.");
        }

        long line = 1;
        if (first.AsSpan().TrimStart().StartsWith("{"))
        {
            for (string? text = first; text is not null && requests.Count < maximumCount; text = reader.ReadLine(), line++)
            {
                if (!text.AsSpan().Trim().IsEmpty)
                {
                    requests.Add(FromJson(text, line));
                }
            }
        }
        else
        {
            var columns = new Columns(first);
            while (requests.Count < maximumCount && reader.ReadLine() is { } text)
            {
                line++;
                if (!text.AsSpan().Trim().IsEmpty)
                {
                    requests.Add(columns.Parse(text, line));
                }
            }
        }

        return requests.Count > 0 ? FromZero(requests) : throw new RequestTraceFormatException(line, 1, "the trace has no requests.");
    }

    /// <summary>The same requests, coming <paramref name="factor"/> times as fast.</summary>
    public static IReadOnlyList<SimulatedRequest> Scale(IReadOnlyList<SimulatedRequest> requests, double factor)
    {
        ArgumentNullException.ThrowIfNull(requests);
        if (!(factor > 0) || !double.IsFinite(factor))
        {
            throw new ArgumentOutOfRangeException(nameof(factor), factor, "Must be positive and finite.");
        }

        return [.. requests.Select(r => r with { ArrivalSeconds = r.ArrivalSeconds / factor })];
    }

    /// <summary>Mean requests per second over the span of the trace; NaN where all come at once.</summary>
    public static double MeanRate(IReadOnlyList<SimulatedRequest> requests)
    {
        ArgumentNullException.ThrowIfNull(requests);
        double span = requests.Count > 1 ? requests[^1].ArrivalSeconds - requests[0].ArrivalSeconds : 0;
        return span > 0 ? (requests.Count - 1) / span : double.NaN;
    }

    private static SimulatedRequest[] FromZero(List<SimulatedRequest> requests)
    {
        double origin = requests.Min(r => r.ArrivalSeconds);

        // OrderBy is stable: equal times keep the order of the file.
        return [.. requests.OrderBy(r => r.ArrivalSeconds).Select(r => r with { ArrivalSeconds = r.ArrivalSeconds - origin })];
    }

    private static SimulatedRequest FromJson(string text, long line)
    {
        try
        {
            using JsonDocument document = JsonDocument.Parse(text);
            JsonElement root = document.RootElement;
            foreach ((string time, string prompt, string output, double unit) in Formats)
            {
                if (root.ValueKind == JsonValueKind.Object && root.TryGetProperty(time, out JsonElement at))
                {
                    double seconds = at.ValueKind == JsonValueKind.Number ? at.GetDouble() * unit : double.NaN;
                    if (!double.IsFinite(seconds))
                    {
                        throw Malformed(text, time, line, $"'{time}' must be a finite number.");
                    }

                    return new SimulatedRequest(seconds, Count(root, prompt, text, line), Count(root, output, text, line));
                }
            }

            throw new RequestTraceFormatException(line, 1, $"expected an object with one of: {string.Join(", ", Formats.Select(f => f.Time))}.");
        }
        catch (JsonException error)
        {
            // The position is in bytes of UTF-8; columns count characters.
            int bytes = (int)Math.Min(error.BytePositionInLine ?? 0, int.MaxValue);
            byte[] utf8 = Encoding.UTF8.GetBytes(text);
            int column = Encoding.UTF8.GetCharCount(utf8, 0, Math.Min(bytes, utf8.Length)) + 1;
            throw new RequestTraceFormatException(line, column, "not JSON.", error);
        }
    }

    private static int Count(JsonElement root, string name, string text, long line)
    {
        if (!root.TryGetProperty(name, out JsonElement value))
        {
            throw new RequestTraceFormatException(line, 1, $"'{name}' is missing.");
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int count) && count >= 0
            ? count
            : throw Malformed(text, name, line, $"'{name}' must be a whole number from 0 to {int.MaxValue}.");
    }

    private static RequestTraceFormatException Malformed(string text, string name, long line, string message) =>
        new(line, text.IndexOf($"\"{name}\"", StringComparison.Ordinal) + 1, message);

    // The columns of a CSV header that matter.
    private sealed class Columns
    {
        private readonly int _time, _prompt, _output;
        private readonly double _unit;

        public Columns(string header)
        {
            string[] names = [.. header.Split(',').Select(n => n.Trim())];
            foreach ((string time, string prompt, string output, double unit) in Formats)
            {
                (_time, _prompt, _output) = (Array.IndexOf(names, time), Array.IndexOf(names, prompt), Array.IndexOf(names, output));
                if (_time >= 0 && _prompt >= 0 && _output >= 0)
                {
                    _unit = unit;
                    return;
                }
            }

            throw new RequestTraceFormatException(
                1, 1, $"the header has none of: {string.Join("; ", Formats.Select(f => $"{f.Time},{f.Prompt},{f.Output}"))}. Found: {string.Join(",", names)}.");
        }

        public SimulatedRequest Parse(string text, long line) =>
            new(Time(Cell(text, _time, line, out int at), line, at), Count(Cell(text, _prompt, line, out at), line, at), Count(Cell(text, _output, line, out at), line, at));

        private static ReadOnlySpan<char> Cell(string text, int index, long line, out int column)
        {
            int start = 0;
            for (int i = 0; i < index; i++)
            {
                int comma = text.IndexOf(',', start);
                if (comma < 0)
                {
                    throw new RequestTraceFormatException(line, text.Length + 1, $"the line ends after {i + 1} columns, {index + 1} are needed.");
                }

                start = comma + 1;
            }

            int end = text.IndexOf(',', start);
            column = start + 1;
            return text.AsSpan(start, (end < 0 ? text.Length : end) - start).Trim();
        }

        private static int Count(ReadOnlySpan<char> cell, long line, int column) =>
            int.TryParse(cell, NumberStyles.None, CultureInfo.InvariantCulture, out int count)
                ? count
                : throw new RequestTraceFormatException(line, column, $"'{cell}' is no token count.");

        private double Time(ReadOnlySpan<char> cell, long line, int column)
        {
            if (double.TryParse(cell, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) && double.IsFinite(number))
            {
                return number * _unit;
            }

            return DateTime.TryParse(cell, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal, out DateTime time)
                ? time.Ticks / (double)TimeSpan.TicksPerSecond
                : throw new RequestTraceFormatException(line, column, $"'{cell}' is no time.");
        }
    }
}
