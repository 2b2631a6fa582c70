using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using E2LLM.Planning;
using E2LLM.Simulation;
using E2LLM.Tool.CommandLine;

namespace E2LLM.Tool.Commands;

/// <summary>The options of <c>e2llm plan</c> that choose what is searched and how, and which of them contradict each other.</summary>
internal sealed class PlanSearchOptions
{
    private static readonly string[] Objectives =
        ["capacity", "bottleneck", "waiting", "goodput", "simulated-waiting", "simulated-p99-waiting", "simulated-end-to-end", "simulated-goodput"];

    // Enough to tell plans apart, few enough that some hundred plans take seconds.
    private const int SimulatedRequestCount = 300;

    public Option<ulong> Seed { get; } = ToolOptions.Seed("Seed of every random choice (default 1).");

    public Option<PlannerKind?> Planner { get; } = Choice<PlannerKind?>(
        "--planner",
        "auto: exact where the cluster is small enough, else anytime. exact: all partitions, with proof. anytime: neighbourhoods, with a bound. e2llm: the paper's genetic search (default auto).",
        ["auto", "exact", "anytime", "e2llm"],
        name => Enum.Parse<PlannerKind>(name, ignoreCase: true));

    public Option<IPlanObjective?> Objective { get; } = Choice(
        "--objective",
        "capacity: most requests per second. bottleneck: the paper's. waiting: shortest expected waiting. goodput: most requests within the workload's targets. simulated-waiting, simulated-p99-waiting, simulated-end-to-end, simulated-goodput: as measured by simulating every candidate (default capacity).",
        Objectives,
        FindObjective);

    public Option<double?> TimeBudget { get; } = Between(
        "--time-budget", "SECONDS", 0, 1e6, "Most seconds of one neighbourhood search, which large clusters need; then the best so far. The seed alone no longer fixes the plan.");

    public Option<double?> SpeedError { get; } = Between(
        "--speed-error", "X", 0, 1, "Plan for device speeds known only within this share, 0.3 for 30 %: never worse than the plain plan when all are slow, and near the best in the mean.");

    public Option<bool> NoMixed { get; } = new("--no-mixed") { Description = "Every replica serves one phase only." };

    /// <summary>The planner's options.</summary>
    /// <exception cref="UsageException">They contradict each other.</exception>
    public PlannerOptions Read(ParseResult parsed, bool replans)
    {
        PlannerKind? planner = parsed.GetValue(Planner);
        IPlanObjective? objective = parsed.GetValue(Objective);
        double? seconds = parsed.GetValue(TimeBudget), error = parsed.GetValue(SpeedError);
        if (seconds is not null && planner is (PlannerKind.Exact or PlannerKind.E2llm))
        {
            throw new UsageException("--time-budget ends the anytime search only: use --planner anytime or auto.");
        }

        if (replans && planner is not null)
        {
            throw new UsageException("--replan has a search of its own: leave --planner out.");
        }

        if (replans && objective is not null && !ReferenceEquals(objective, PlanObjectives.Capacity))
        {
            throw new UsageException("--replan weighs capacity against moved bytes: only --objective capacity goes with it.");
        }

        if (replans && error is not null)
        {
            throw new UsageException("--replan takes the stated speeds: leave --speed-error out.");
        }

        return new PlannerOptions
        {
            Planner = planner ?? PlannerKind.Auto,
            Objective = objective,
            AllowMixed = !parsed.GetValue(NoMixed),
            Seed = parsed.GetValue(Seed),
            TimeBudget = seconds is { } budget ? TimeSpan.FromSeconds(budget) : null,
            SpeedErrorFraction = error ?? 0,
        };
    }

    private static IPlanObjective? FindObjective(string name) => PlanObjectives.Find(name)
        ?? Enum.GetValues<SimulatedMetric>().Select(metric => new SimulatedObjective(metric, SimulatedRequestCount)).First(objective => objective.Kind == name);

    private static Option<T?> Choice<T>(string option, string description, string[] names, Func<string, T?> find) => new(option)
    {
        Description = description,
        HelpName = "NAME",
        CustomParser = argument =>
        {
            string name = argument.Tokens[0].Value;
            if (names.Contains(name, StringComparer.OrdinalIgnoreCase))
            {
                return find(name.ToLowerInvariant());
            }

            argument.AddError($"{option} '{name}' is none of: {string.Join(", ", names)}.");
            return default;
        },
    };

    private static Option<double?> Between(string option, string unit, double above, double below, string description) => new(option)
    {
        Description = description,
        HelpName = unit,
        CustomParser = argument =>
        {
            if (double.TryParse(argument.Tokens[0].Value, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && value > above && value < below)
            {
                return value;
            }

            argument.AddError(string.Create(CultureInfo.InvariantCulture, $"{option} '{argument.Tokens[0].Value}' is not a number above {above} and below {below}."));
            return null;
        },
    };
}
