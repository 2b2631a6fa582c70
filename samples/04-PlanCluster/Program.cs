// Which of five unlike machines should hold which layers of a model that is too large for most of them, and who reads prompts, who generates?
// usage: PlanCluster [CLUSTER.json MODEL.json WORKLOAD.json]
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;

string[] files = args.Length == 3 ? args : [Beside("cluster.json"), Beside("model.json"), Beside("workload.json")];
Cluster cluster = Cluster.Load(files[0]);
ModelCost model = ModelCost.Load(files[1]);
Workload workload = Workload.Load(files[2]);

PlanningResult result = DeploymentPlanner.Plan(cluster, model, workload);
if (!result.IsFeasible)
{
    // Not an exception: the answer to "does it fit?" may be no, and then says what is missing.
    Console.WriteLine($"no plan ({result.Infeasible!.Constraint}): {result.Infeasible.Message}");
    return 1;
}

DeploymentPlan plan = result.Plan!;
Console.WriteLine(DeploymentPlanText.Draw(plan));
foreach (string reason in plan.Explanation)
{
    Console.WriteLine($"- {reason}");
}

// A device is taken away: plan again around what runs, moving as few weights as that allows.
string lost = plan.Replicas[0].Stages[^1].Device;
Cluster rest = cluster with { Devices = [.. cluster.Devices.Where(device => device.Name != lost)], Ports = [.. cluster.Ports.Where(port => port.Device != lost)] };
ReplanResult again = Replanner.Replan(plan, rest, model, workload);
Console.WriteLine();
Console.WriteLine(again.Result.Plan is { } next
    ? $"Without {lost}: {again.MovedBytes / 1e9:F1} GB of weights move.\n{DeploymentPlanText.Draw(next)}"
    : $"Without {lost} there is no plan: {again.Result.Infeasible!.Message}");
return 0;

static string Beside(string name) => Path.Combine(AppContext.BaseDirectory, name);
