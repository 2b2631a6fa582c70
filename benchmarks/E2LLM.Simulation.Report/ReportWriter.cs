using System.Text;
using E2LLM.Simulation.Reporting;

namespace E2LLM.Simulation.Report;

/// <summary>Collects the Markdown of the report and writes plots beside it. Not thread-safe.</summary>
internal sealed class ReportWriter(string path)
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

    /// <summary>Writes the file.</summary>
    public void Save() => File.WriteAllText(path, _text.ToString().TrimEnd() + "\n");
}
