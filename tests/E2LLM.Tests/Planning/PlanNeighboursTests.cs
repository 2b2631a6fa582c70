using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Simulation;
using E2LLM.Tests.Costs;

namespace E2LLM.Tests.Planning;

public sealed class PlanNeighboursTests
{
    private static readonly Workload Work = TestClusters.Work(400, 150, 0.3);

    [Fact]
    public void Of_WalkedToTheEnd_ReachesEveryDeploymentOfASmallCluster()
    {
        // Memory enough for any group of any role, so that every partition with roles is a deployment.
        Cluster cluster = new RandomInstances(5).Cluster(3, 40);
        ModelCost model = new RandomInstances(22).Model(12);
        var neighbours = new PlanNeighbours(new PlanningProblem(cluster, model, Work, new PlannerOptions()));
        DeploymentPlan start = DeploymentPlanner.Plan(cluster, model, Work).Plan!;
        var seen = new HashSet<string> { Deployment(start) };
        var left = new Queue<DeploymentPlan>([start]);
        while (left.TryDequeue(out DeploymentPlan? plan))
        {
            foreach (DeploymentPlan next in neighbours.Of(plan))
            {
                Assert.Empty(PlanValidator.Validate(next, cluster, model, Work));
                if (seen.Add(Deployment(next)))
                {
                    left.Enqueue(next);
                }
            }
        }

        Assert.Equal(Every(cluster.Devices.Count).Order(), seen.Order());
    }

    [Fact]
    public void Plan_ForASimulatedObjective_IsNoWorseThanTheBestNeighbourOfItself()
    {
        Cluster cluster = new RandomInstances(21).Cluster(5);
        ModelCost model = new RandomInstances(22).Model(16);
        var objective = new SimulatedObjective(SimulatedMetric.MeanEndToEnd, 60);
        var options = new PlannerOptions { Objective = objective };
        DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, Work, options).Plan!, capacity = DeploymentPlanner.Plan(cluster, model, Work).Plan!;
        double its = objective.Evaluate(plan, cluster, model, Work);
        Assert.Equal(its, plan.Objective.Value);
        Assert.InRange(its, 0, objective.Evaluate(capacity, cluster, model, Work));
        var neighbours = new PlanNeighbours(new PlanningProblem(cluster, model, Work, options));
        Assert.All(neighbours.Of(plan), other => Assert.True(objective.Evaluate(other, cluster, model, Work) >= its));
    }

    [Fact]
    public void Of_DevicesOnUnlikeLinks_ChangesSlotsOnly()
    {
        Cluster cluster = new RandomInstances(4).Linked(4);
        ModelCost model = new RandomInstances(22).Model(16);
        DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, Work).Plan!;
        var problem = new PlanningProblem(cluster, model, Work, new PlannerOptions());
        DeploymentPlan[] others = [.. new PlanNeighbours(problem).Of(plan)];
        Assert.NotEmpty(others);
        Assert.All(others, other => Assert.Equal(Deployment(plan), Deployment(other)));
        Assert.All(others, other => Assert.Empty(PlanValidator.Validate(other, cluster, model, Work)));
    }

    // Roles and devices, without order, slots and layers.
    private static string Deployment(DeploymentPlan plan) => string.Join(' ', plan.Replicas
        .Select(replica => replica.Role.ToString()[0] + string.Concat(replica.Stages.Select(stage => stage.Device).Order())).Order());

    // By hand: each device in turn joins a replica that is there, makes one of its own in each role, or stays out.
    private static IEnumerable<string> Every(int deviceCount)
    {
        IEnumerable<List<string>> partial = [[]];
        for (int device = 0; device < deviceCount; device++)
        {
            string name = $"d{device}";
            partial = [.. partial.SelectMany(groups =>
            {
                var grown = new List<List<string>> { groups };
                grown.AddRange(groups.Select((_, i) => groups.Select((group, k) => k == i ? group + name : group).ToList()));
                grown.AddRange("PDM".Select(role => (List<string>)[.. groups, role + name]));
                return grown;
            })];
        }

        return partial.Where(groups => groups.Exists(g => g[0] != 'D') && groups.Exists(g => g[0] != 'P')).Select(groups => string.Join(' ', groups.Order())).Distinct();
    }
}
