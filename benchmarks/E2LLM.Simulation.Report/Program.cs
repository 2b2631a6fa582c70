using System.Diagnostics;
using System.Globalization;
using E2LLM.Costs;
using E2LLM.Simulation;
using E2LLM.Simulation.Report;

// dotnet run -c Release --project benchmarks/E2LLM.Simulation.Report [--data DIR] [--out FILE] [--draws N] [--only 1,2,3,3.1,3.2,3.3,4.1,4.2,4.3,4.4,4.5,5,6] [--effort X] [--edge EdgeCluster.dll]
CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
string Argument(string name, string standard) => Array.IndexOf(args, name) is var i and >= 0 && i + 1 < args.Length ? args[i + 1] : standard;
string data = Argument("--data", Path.Combine("..", "shared", "data")), output = Argument("--out", Path.Combine("benchmarks", "SIMULATION.md"));
string[] sections = Argument("--only", "1,2,3,3.1,3.2,3.3,4.1,4.2,4.3,4.4,4.5,5,6").Split(',');
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
void Section(string number, Action<ReportWriter> write)
{
    if (sections.Contains(number))
    {
        long before = Stopwatch.GetTimestamp();
        var report = new ReportWriter(output, number);
        write(report);
        report.Save();
        Console.WriteLine($"[section {number}: {Stopwatch.GetElapsedTime(before).TotalSeconds:F0} s]");
    }
}

Section("1", report => ValidationSections.Splitwise(report, data));
Section("2", report => ValidationSections.Queues(report, effort));
Section("3", report => PaperSection.Write(report, cluster));
Section("3.1", report => PaperStudies.NearSaturation(report, cluster));
Section("3.2", report => PaperStudies.Ablation(report, cluster));
Section("3.3", report => PaperStudies.Draws(report, cluster, draws, Path.Combine(Path.GetDirectoryName(Path.GetFullPath(output))!, "simulation", "draws.csv")));
Section("4.1", report => TraceSection.Trace(report, cluster, "4.1", "conv", data));
Section("4.2", report => TraceSection.Trace(report, cluster, "4.2", "code", data));
Section("4.3", report => TraceSection.Ratios(report, cluster));
Section("4.4", report => DriftSection.Write(report, cluster));
Section("4.5", report => GoodputSection.Write(report, cluster, data));
Section("5", report =>
{
    SimulatedRequest[] requests = PaperSetting.Requests(576, 588, 1, 150);
    SystemUnderTest ours = new Systems(cluster, PaperSetting.Model, PaperSetting.Workload(576, 588, 1), requests).Own()!;
    ValidationSections.Speed(report, cluster, ours, (int)(1_000_000 * Math.Min(1, effort)));
});
Section("6", report => FidelitySection.Write(report, Argument("--edge", Path.Combine("samples", "EdgeCluster", "bin", "Release", "net10.0", "EdgeCluster.dll"))));
Console.WriteLine($"{output}: {Stopwatch.GetElapsedTime(start).TotalSeconds:F0} s");
return 0;
