using System.Diagnostics;
using System.Globalization;
using System.Text;
using E2LLM.Planning.Report;

// Writes benchmarks/PLANNING.md and its pictures. --data DIR: folder with helix/; --fuzz N: so many random inputs (default 20000); --fuzz-from N: beginning with the Nth; --only 1,4: those parts only, the others stay as the file has them.
string data = Argument("--data") ?? Path.Combine("..", "shared", "data", "traces");
int fuzz = int.Parse(Argument("--fuzz") ?? "20000", CultureInfo.InvariantCulture);
string[]? only = Argument("--only")?.Split(',');
string folder = Path.Combine(Root(), "benchmarks");
var text = new StringBuilder();
text.AppendLine("# What the planner does, measured\n");
text.AppendLine($"Written by `dotnet run -c Release --project benchmarks/E2LLM.Planning.Report` on {DateTime.UtcNow:yyyy-MM-dd}, .NET {Environment.Version}, {Environment.ProcessorCount} logical processors.");
text.AppendLine("Instances come from a committed, seeded generator (`tests/E2LLM.Tests/Planning/RandomInstances.cs`). Objective: capacity (requests per second), pure roles unless said, uniform");
text.AppendLine("links, any group size, devices may stay unused. The searches run on one thread; \"s\" is wall-clock, \"CPU s\" the processor time of the process, which a busy machine does not stretch.\n");
(string Name, Action<StringBuilder> Write)[] parts =
[
    ("1", ExactPart.Enumeration), ("2", out2 => ScalePart.Write(out2, folder)), ("3", out3 => GeneticPart.Write(out3, folder)),
    ("4", out4 => HelixPart.Write(out4, data)), ("5", LossPart.Write), ("6", RobustPart.Write), ("7", out7 => ExactPart.Fuzz(out7, int.Parse(Argument("--fuzz-from") ?? "0", CultureInfo.InvariantCulture), fuzz)),
];
string file = Path.Combine(folder, "PLANNING.md");
string[] before = File.Exists(file) ? File.ReadAllText(file).Split("\n## ") : [];
foreach ((string name, Action<StringBuilder> write) in parts)
{
    int from = text.Length;
    if (only is null || only.Contains(name))
    {
        var watch = Stopwatch.StartNew();
        write(text);
        Console.WriteLine(text.ToString(from, text.Length - from));
        Console.Error.WriteLine($"part {name}: {watch.Elapsed.TotalSeconds:F1} s");
    }
    else if (Array.Find(before, part => part.StartsWith($"{name}. ", StringComparison.Ordinal)) is { } kept)
    {
        text.AppendLine($"## {kept.Trim()}");
    }

    text.AppendLine();
}

File.WriteAllText(file, text.ToString().TrimEnd().ReplaceLineEndings("\n") + "\n");
return 0;

string? Argument(string name)
{
    int at = Array.IndexOf(args, name);
    return at >= 0 && at + 1 < args.Length ? args[at + 1] : null;
}

static string Root()
{
    DirectoryInfo? folder = new(Environment.CurrentDirectory);
    while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "E2LLM.sln")))
    {
        folder = folder.Parent;
    }

    return folder?.FullName ?? throw new InvalidOperationException("Run this inside the repository.");
}
