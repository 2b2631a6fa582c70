using System.CommandLine;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Samples;
using E2LLM.Tool.CommandLine;

namespace E2LLM.Tool.Commands;

/// <summary><c>e2llm plan</c>: which devices form which replicas, in which roles, with which layers.</summary>
internal static class PlanCommand
{
    public static Command Create(ToolConsole console)
    {
        var cluster = new Option<string>("--cluster") { Description = "Devices and links.", HelpName = "C.json", Required = true };
        var model = new Option<string>("--model") { Description = "A model's shape, or a GGUF file.", HelpName = "S.json|M.gguf", Required = true };
        var workload = new Option<string>("--workload") { Description = "Arrivals, lengths and targets.", HelpName = "W.json", Required = true };
        Option<ulong> seed = ToolOptions.Seed("Seed of every random choice (default 1).");
        var output = new Option<string?>("--out") { Description = "Also write the plan to a file.", HelpName = "P.json" };
        var planner = new Option<PlannerKind>("--planner")
        {
            Description = $"Which search: {string.Join(", ", Enum.GetNames<PlannerKind>())} (default Auto).", HelpName = "NAME",
        };
        Option<IPlanObjective?> objective = Objective();
        var noMixed = new Option<bool>("--no-mixed") { Description = "Every replica serves one phase only." };
        Option<bool> json = ToolOptions.Json();
        var command = new Command("plan", "Plans a cluster into prefill and decode replicas.")
        {
            cluster, model, workload, seed, output, planner, objective, noMixed, json,
        };
        command.SetAction((parsed, ct) =>
        {
            string workloadPath = parsed.GetRequiredValue(workload);
            PlanningResult result = DeploymentPlanner.Plan(
                Cluster.Parse(File.ReadAllText(parsed.GetRequiredValue(cluster))),
                ModelCostFile.Read(parsed.GetRequiredValue(model)),
                Workload.Parse(File.ReadAllText(workloadPath), name => File.ReadAllText(BesideOf(workloadPath, name))),
                new PlannerOptions
                {
                    Planner = parsed.GetValue(planner),
                    Objective = parsed.GetValue(objective),
                    AllowMixed = !parsed.GetValue(noMixed),
                    Seed = parsed.GetValue(seed),
                },
                new ProgressLines(console.Error),
                ct);
            if (!result.IsFeasible)
            {
                console.Error.WriteLine($"e2llm: no plan: {result.Infeasible.Message}");
                if (parsed.GetValue(json))
                {
                    console.Out.WriteLine(result.Infeasible.ToJson());
                }

                return Task.FromResult(1);
            }

            string plan = result.Plan.ToJson();
            if (parsed.GetValue(output) is { } path)
            {
                File.WriteAllText(path, plan + "\n");
            }

            if (parsed.GetValue(json))
            {
                console.Out.WriteLine(plan);
            }
            else
            {
                console.Out.Write(DeploymentPlanText.Draw(result.Plan));
            }

            return Task.FromResult(0);
        });
        return command;
    }

    private static Option<IPlanObjective?> Objective() => new("--objective")
    {
        Description = "What is optimised: capacity, bottleneck, waiting or goodput (default: the planner's choice).",
        HelpName = "NAME",
        CustomParser = argument =>
        {
            IPlanObjective? found = PlanObjectives.Find(argument.Tokens[0].Value);
            if (found is null)
            {
                argument.AddError($"--objective '{argument.Tokens[0].Value}' is none of: capacity, bottleneck, waiting, goodput.");
            }

            return found;
        },
    };

    private static string BesideOf(string path, string name) => Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, name);

    /// <summary>Progress on the error stream, at most once per phase and tenth.</summary>
    private sealed class ProgressLines(TextWriter error) : IProgress<PlanningProgress>
    {
        private string last = "";

        public void Report(PlanningProgress value)
        {
            string line = $"{value.Phase} {Math.Floor(value.DoneFraction * 10) * 10:F0} %";
            if (line != last)
            {
                last = line;
                error.WriteLine(line);
            }
        }
    }
}
