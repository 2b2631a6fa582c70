using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Simulation;

namespace E2LLM.Samples.Snippets;

/// <summary>From a description of devices to a plan, and from the plan to what it would do under load.</summary>
internal static class PlanCluster
{
    public static void Run(string clusterPath, string modelPath, string workloadPath, TextWriter output)
    {
        Cluster cluster = Cluster.Parse(File.ReadAllText(clusterPath));
        ModelCost model = ModelCost.Parse(File.ReadAllText(modelPath));
        Workload workload = Workload.Parse(File.ReadAllText(workloadPath));
        DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, workload).Plan ?? throw new InvalidOperationException("no plan fits");
        ServingReport report = ClusterSimulator.Run(plan, cluster, model, workload, requestCount: 1000);
        output.WriteLine($"{DeploymentPlanText.Draw(plan)}\nmean waiting time in simulation: {report.WaitingSeconds.Mean} s");
    }
}
