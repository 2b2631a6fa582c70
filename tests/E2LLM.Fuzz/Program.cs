using System.Globalization;
using E2LLM.Fuzz.Targets;

// dotnet run -c Release --project tests/E2LLM.Fuzz -- [TARGET|all] [--iterations N | --seconds S] [--seed N] [--accepted FOLDER]
// A failure prints the input and ends with exit code 1. --accepted writes each input that the parser took into a folder, for
// another reader to judge (benchmarks/peers/gguf.mjs).
IFuzzTarget[] targets = FuzzTargets.All();
string? name = args.Length > 0 && !args[0].StartsWith("--", StringComparison.Ordinal) ? args[0] : null;
IFuzzTarget[] chosen = [.. targets.Where(target => name is null or "all" || target.Name == name)];
if (chosen.Length == 0)
{
    Console.Error.WriteLine($"No target '{name}'. Targets: all, {string.Join(", ", targets.Select(target => target.Name))}.");
    return 2;
}

int seed = int.Parse(Option("--seed") ?? "1", CultureInfo.InvariantCulture);
double seconds = double.Parse(Option("--seconds") ?? (Option("--iterations") is null ? "10" : "1e9"), CultureInfo.InvariantCulture);
long iterations = long.Parse(Option("--iterations") ?? long.MaxValue.ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
string? folder = Option("--accepted");
foreach (IFuzzTarget target in chosen)
{
    long start = TimeProvider.System.GetTimestamp();
    int written = 0;
    try
    {
        long done = 0;
        long taken = FuzzRun.Run(
            target,
            seed,
            iterations,
            () => done++ % 64 == 0 && TimeProvider.System.GetElapsedTime(start).TotalSeconds > seconds,
            folder is null ? null : input => File.WriteAllBytes(Path.Combine(Directory.CreateDirectory(folder).FullName, $"{seed}-{written++}.bin"), input));
        Console.WriteLine($"{target.Name}: {Math.Min(done, iterations)} inputs, {taken} taken, no failure, {TimeProvider.System.GetElapsedTime(start).TotalSeconds:F1} s");
    }
    catch (FuzzFailureException failure)
    {
        Console.WriteLine(failure);
        return 1;
    }
}

return 0;

string? Option(string option)
{
    int at = Array.IndexOf(args, option);
    return at >= 0 && at + 1 < args.Length ? args[at + 1] : null;
}
