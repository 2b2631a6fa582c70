using System.Globalization;

namespace E2LLM.Simulation.SplitwiseSim;

/// <summary>One reference run of splitwise-sim: its trace, its machines (both told by the file's name) and its per-request output.</summary>
internal sealed class SplitwiseFixture
{
    private readonly SplitwiseSettings _settings;
    private readonly (string, bool, SplitwiseProfile)[] _machines;
    private readonly (double, int, int)[] _trace;
    private readonly bool _mixedPool;

    private SplitwiseFixture(
        SplitwiseSettings settings, (string, bool, SplitwiseProfile)[] machines, bool mixedPool, (double, int, int)[] trace, SplitwiseOutcome[] expected)
    {
        _settings = settings;
        _machines = machines;
        _mixedPool = mixedPool;
        _trace = trace;
        Expected = expected;
    }

    /// <summary>What the original wrote, by request id.</summary>
    public IReadOnlyList<SplitwiseOutcome> Expected { get; }

    /// <summary>Loads <c>out_{stem}.csv</c> with the trace and the profile table beside it.</summary>
    /// <exception cref="FormatException">A file is not what the name says.</exception>
    public static SplitwiseFixture Load(string folder, string stem)
    {
        string[] parts = stem.Split('_', 5);
        bool bloom = parts[0] == "bloom176b", mixedPool = stem.Contains("mixed-pool", StringComparison.Ordinal);
        string model = bloom ? "bloom-176b" : "llama2-70b";
        var profiles = new Dictionary<string, SplitwiseProfile>();
        (string, bool, SplitwiseProfile) Machine(string hardware, bool isPrompt)
        {
            if (!profiles.TryGetValue(hardware, out SplitwiseProfile? profile))
            {
                using StreamReader table = File.OpenText(Path.Combine(folder, "perf_model.csv"));
                profiles[hardware] = profile = SplitwiseProfile.Read(table, model, hardware, tensorParallel: 8);
            }

            return (hardware, isPrompt, profile);
        }

        const string H100 = "h100-80gb", A100 = "a100-80gb";
        (string, bool, SplitwiseProfile)[] machines = string.Join('_', parts[1], parts[2]) switch
        {
            "baseline_h100x1" => [Machine(H100, true)],
            "baseline_h100x4" => [Machine(H100, true), Machine(H100, true), Machine(H100, true), Machine(H100, true)],
            "splitwise-HA_1p1t" => [Machine(A100, false), Machine(H100, true)],
            "splitwise-HA_2p2t" => [Machine(A100, false), Machine(A100, false), Machine(H100, true), Machine(H100, true)],
            "splitwise-HH_2p2t" => [Machine(H100, true), Machine(H100, true), Machine(H100, false), Machine(H100, false)],
            string other => throw new FormatException($"Unknown cluster {other} in {stem}."),
        };
        (double, int, int)[] trace = [.. Rows(folder, $"trace_{parts[4]}.csv").Select(r => (Number(r[3]), (int)Number(r[5]), (int)Number(r[6])))];
        SplitwiseOutcome[] expected = [.. Rows(folder, $"out_{stem}.csv").Select(r => new SplitwiseOutcome(
            (int)Number(r[0]), Number(r[1]), Number(r[2]), Number(r[3]), Number(r[4]), Number(r[5]), r[8], r[9],
            Number(r[10]), Number(r[11]), Number(r[12]), Number(r[13])))];
        return new SplitwiseFixture(bloom ? SplitwiseSettings.BloomWith176B : SplitwiseSettings.Llama2With70B, machines, mixedPool, trace, expected);
    }

    /// <summary>Our run of the same trace on the same machines, by request id.</summary>
    public IReadOnlyList<SplitwiseOutcome> Run() =>
        [.. new SplitwiseSimulator(_settings, _machines, _mixedPool).Run(_trace).OrderBy(o => o.Id)];

    /// <summary>Largest absolute difference of any time of two outcomes, seconds.</summary>
    public static double LargestDifference(in SplitwiseOutcome left, in SplitwiseOutcome right)
    {
        double[] differences =
        [
            left.EndToEndSeconds - right.EndToEndSeconds, left.QueueSeconds - right.QueueSeconds, left.TtftSeconds - right.TtftSeconds,
            left.TbtSeconds - right.TbtSeconds, left.NthTokenOverheadSeconds - right.NthTokenOverheadSeconds, left.PromptStart - right.PromptStart,
            left.PromptEnd - right.PromptEnd, left.TokenStart - right.TokenStart, left.TokenEnd - right.TokenEnd,
        ];
        return differences.Max(Math.Abs);
    }

    private static IEnumerable<string[]> Rows(string folder, string file) =>
        File.ReadLines(Path.Combine(folder, file)).Skip(1).Where(l => l.Length > 0).Select(l => l.Split(','));

    private static double Number(string cell) => double.Parse(cell, CultureInfo.InvariantCulture);
}
