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
        var search = new PlanSearchOptions();
        var replan = new Option<string?>("--replan")
        {
            Description = "Plan again around the plan that runs, moving few weights: at least 95 % of the best capacity, then the fewest bytes.", HelpName = "OLD.json",
        };
        Option<string[]> lost = Devices("--lost", "With --replan: a device that is gone; may be repeated. --cluster may still list it.");
        Option<string[]> added = Devices("--added", "With --replan: a device of --cluster that OLD.json does not know; may be repeated.");
        var output = new Option<string?>("--out") { Description = "Also write the plan to a file, for e2llm simulate and --replan.", HelpName = "P.json" };
        var svg = new Option<string?>("--svg") { Description = "Also draw the plan to a file: a row for each replica, a box for each stage.", HelpName = "P.svg" };
        var mermaid = new Option<bool>("--mermaid") { Description = "A Mermaid flow chart on stdout instead of the drawing." };
        Option<bool> json = ToolOptions.Json();
        var command = new Command("plan", "Plans a cluster into prefill and decode replicas; says why, and how far from the best the plan can be at most.")
        {
            cluster, model, workload, search.Seed, search.Planner, search.Objective, search.TimeBudget, search.SpeedError, search.NoMixed,
            replan, lost, added, output, svg, mermaid, json,
        };
        command.SetAction((parsed, ct) =>
        {
            if (parsed.GetValue(mermaid) && parsed.GetValue(json))
            {
                throw new UsageException("--mermaid and --json both want stdout: give one of them.");
            }

            string? oldPath = parsed.GetValue(replan);
            string[] gone = parsed.GetValue(lost) ?? [], come = parsed.GetValue(added) ?? [];
            if (oldPath is null && gone.Length + come.Length > 0)
            {
                throw new UsageException("--lost and --added say what changed since a plan was made: give it with --replan.");
            }

            PlannerOptions options = search.Read(parsed, replans: oldPath is not null);
            string workloadPath = parsed.GetRequiredValue(workload);
            Cluster devices = Cluster.Parse(File.ReadAllText(parsed.GetRequiredValue(cluster)));
            ModelCost costs = ModelCostFile.Read(parsed.GetRequiredValue(model));
            Workload load = Workload.Parse(File.ReadAllText(workloadPath), name => File.ReadAllText(BesideOf(workloadPath, name)));
            PlanningResult result;
            using (var bar = new ProgressBar(console, isPatient: true))
            {
                var progress = new PlanProgress(bar);
                if (oldPath is null)
                {
                    result = DeploymentPlanner.Plan(devices, costs, load, options, progress, ct);
                }
                else
                {
                    DeploymentPlan current = DeploymentPlan.Parse(File.ReadAllText(oldPath));
                    result = Replanner.Replan(current, PlanChange.Apply(current, devices, gone, come), costs, load, options, progress: progress, cancellationToken: ct).Result;
                }
            }

            if (!result.IsFeasible)
            {
                console.Error.WriteLine($"e2llm: no plan: {result.Infeasible.Message}");
                if (parsed.GetValue(json))
                {
                    console.Out.WriteLine(result.Infeasible.ToJson());
                }

                return Task.FromResult(1);
            }

            if (parsed.GetValue(output) is { } path)
            {
                File.WriteAllText(path, result.Plan.ToJson() + "\n");
            }

            if (parsed.GetValue(svg) is { } picture)
            {
                File.WriteAllText(picture, DeploymentPlanText.DrawSvg(result.Plan));
            }

            console.Out.Write(
                parsed.GetValue(json) ? result.Plan.ToJson() + "\n"
                : parsed.GetValue(mermaid) ? DeploymentPlanText.DrawMermaid(result.Plan)
                : DeploymentPlanText.Draw(result.Plan) + Why(result.Plan));
            return Task.FromResult(0);
        });
        return command;
    }

    private static string Why(DeploymentPlan plan) => $"\n  why:\n{string.Concat(plan.Explanation.Select(line => $"  - {line}\n"))}";

    private static Option<string[]> Devices(string name, string description) =>
        new(name) { Description = description, HelpName = "DEV", Arity = ArgumentArity.OneOrMore };

    private static string BesideOf(string path, string name) => Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, name);
}
