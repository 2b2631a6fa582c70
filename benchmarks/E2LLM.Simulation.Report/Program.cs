using System.Diagnostics;
using System.Globalization;
using E2LLM.Costs;
using E2LLM.Simulation;
using E2LLM.Simulation.Report;

// dotnet run -c Release --project benchmarks/E2LLM.Simulation.Report [--data DIR] [--out FILE] [--draws N] [--only 1,2,3,4,5] [--effort X]
CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
string Argument(string name, string standard) => Array.IndexOf(args, name) is var i and >= 0 && i + 1 < args.Length ? args[i + 1] : standard;
string data = Argument("--data", Path.Combine("..", "shared", "data")), output = Argument("--out", Path.Combine("benchmarks", "SIMULATION.md"));
int[] sections = [.. Argument("--only", "1,2,3,4,5").Split(',').Select(int.Parse)];
int draws = int.Parse(Argument("--draws", "200"));
double effort = double.Parse(Argument("--effort", "1"));
string testbed = Path.Combine(data, "paper-testbed.json");
if (!File.Exists(testbed))
{
    Console.Error.WriteLine($"There is no {testbed}; give the folder with --data DIR.");
    return 1;
}

long start = Stopwatch.GetTimestamp();
Cluster cluster = Cluster.Parse(File.ReadAllText(testbed));
var report = new ReportWriter(output);
report.Text("# Simulation report");
report.Text("Written by `dotnet run -c Release --project benchmarks/E2LLM.Simulation.Report`. Everything is seeded and simulated; nothing here was measured on devices.");
void Section(int number, Action write)
{
    if (sections.Contains(number))
    {
        long before = Stopwatch.GetTimestamp();
        write();
        report.Save();
        Console.WriteLine($"[section {number}: {Stopwatch.GetElapsedTime(before).TotalSeconds:F0} s]");
    }
}

Section(1, () => ValidationSections.Splitwise(report, data));
Section(2, () => ValidationSections.Queues(report, effort));
Section(3, () => PaperSection.Write(report, cluster, draws));
Section(4, () => TraceSection.Write(report, cluster, data));
Section(5, () =>
{
    SimulatedRequest[] requests = PaperSetting.Requests(576, 588, 1, 150);
    SystemUnderTest ours = new Systems(cluster, PaperSetting.Model, PaperSetting.Workload(576, 588, 1), requests).Own()!;
    ValidationSections.Speed(report, cluster, ours, (int)(1_000_000 * Math.Min(1, effort)));
});
report.Save();
Console.WriteLine($"{output}: {Stopwatch.GetElapsedTime(start).TotalSeconds:F0} s");
return 0;
