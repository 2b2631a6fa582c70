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
        Cluster cluster = Cluster.Load(clusterPath);
        ModelCost model = ModelCost.Load(modelPath);
        Workload workload = Workload.Load(workloadPath);
        DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, workload).Plan ?? throw new InvalidOperationException("no plan fits");
        output.WriteLine(DeploymentPlanText.Draw(plan));

        ServingReport report = ClusterSimulator.Run(plan, cluster, model, workload, requestCount: 1000);
        output.WriteLine($"mean waiting time in simulation: {report.WaitingSeconds.Mean} s");
    }
}
