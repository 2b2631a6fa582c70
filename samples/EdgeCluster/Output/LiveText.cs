using System.Globalization;
using System.Text;
using E2LLM.Replicas;

namespace E2LLM.Samples.EdgeCluster.Output;

/// <summary>
/// Text of several requests as it comes, a line at a time, each line marked with its request: as readable in a file as in a terminal.
/// Thread-safe.
/// </summary>
internal sealed class LiveText(TextWriter output)
{
    private const int LineWidth = 88;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, StringBuilder> _pending = [];

    public void Start(DemoRequest request)
    {
        lock (_gate)
        {
            _pending[request.Name] = new StringBuilder();
            Write(request, '>', request.Prompt);
        }
    }

    public void FirstToken(DemoRequest request, RequestReport report)
    {
        string place = report.DecodeReplica is null || report.DecodeReplica == report.PrefillReplica
            ? $"{report.PrefillReplica} reads the prompt and goes on"
            : $"{report.PrefillReplica} has read the prompt, {report.DecodeReplica} goes on";
        lock (_gate)
        {
            Write(request, '.', string.Create(CultureInfo.InvariantCulture, $"first token after {report.TtftSeconds * 1e3:F0} ms: {place}"));
        }
    }

    public void Append(DemoRequest request, string text)
    {
        lock (_gate)
        {
            StringBuilder line = _pending[request.Name].Append(text);
            while (TakeLine(line) is { } whole)
            {
                Write(request, '|', whole);
            }
        }
    }

    public void End(DemoRequest request)
    {
        lock (_gate)
        {
            if (_pending[request.Name].Length > 0)
            {
                Write(request, '|', _pending[request.Name].ToString());
            }

            _pending.Remove(request.Name);
        }
    }

    /// <summary>Everything up to a line end, or as many whole words as fit once there are more.</summary>
    private static string? TakeLine(StringBuilder line)
    {
        string text = line.ToString();
        int end = text.IndexOf('\n', StringComparison.Ordinal), skip = 1;
        if (end < 0 && text.Length > LineWidth)
        {
            end = text.LastIndexOf(' ', LineWidth);
            (end, skip) = end > 0 ? (end, 1) : (LineWidth, 0);
        }

        if (end < 0)
        {
            return null;
        }

        line.Remove(0, end + skip);
        return text[..end];
    }

    private void Write(DemoRequest request, char mark, string text)
    {
        output.WriteLine($"  {request.Name} {mark} {text.Trim()}");
        output.Flush();
    }
}
