using System.Text;
using E2LLM.Simulation.Reporting;

namespace E2LLM.Simulation.Report;

/// <summary>
/// Writes the Markdown of one section, with plots beside it. A file keeps the sections that are not written anew, text behind the last of them too, so that sections can be measured one
/// at a time. A section is a heading <c>## N</c> up to the next <c>## </c>. Not thread-safe.
/// </summary>
internal sealed class ReportWriter(string path, string section)
{
    private readonly StringBuilder _text = new();

    /// <summary>Appends a paragraph or a heading.</summary>
    public void Text(string text)
    {
        _text.Append(text).Append("\n\n");
        Console.WriteLine(text);
    }

    /// <summary>Appends a table.</summary>
    public void Table(string[] header, IEnumerable<string[]> rows)
    {
        _text.Append("| ").AppendJoin(" | ", header).Append(" |\n|").Append(string.Concat(Enumerable.Repeat("---|", header.Length))).Append('\n');
        Console.WriteLine(string.Join(" | ", header));
        foreach (string[] row in rows)
        {
            _text.Append("| ").AppendJoin(" | ", row).Append(" |\n");
            Console.WriteLine(string.Join(" | ", row));
        }

        _text.Append('\n');
    }

    /// <summary>Writes a plot beside the report and shows it there.</summary>
    public void Plot(string name, SvgPlot plot)
    {
        string folder = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, "simulation");
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, name + ".svg"), plot.ToSvg());
        _text.Append($"![{plot.Title}](simulation/{name}.svg)\n\n");
    }

    /// <summary>Puts the section into the file: in the place of the one with its number, or before the first with a larger one, or before the first without a number.</summary>
    public void Save()
    {
        string old = File.Exists(path) ? File.ReadAllText(path) : "";
        List<string> parts = [.. ("\n" + old).Split("\n## ").Select((part, i) => i == 0 ? part.TrimStart('\n') : "## " + part)];
        parts.RemoveAll(part => Number(part) == section);
        int at = parts.FindIndex(1, part => Number(part) is not { } number || string.CompareOrdinal(number, section) > 0);
        parts.Insert(at < 0 ? parts.Count : at, _text.ToString());
        File.WriteAllText(path, string.Join("\n\n", parts.Select(part => part.Trim())).Trim() + "\n");
    }

    private static string? Number(string part) =>
        part.Length > 3 && part.StartsWith("## ", StringComparison.Ordinal) && char.IsAsciiDigit(part[3]) ? part[3..].Split(' ')[0].TrimEnd('.') : null;
}
