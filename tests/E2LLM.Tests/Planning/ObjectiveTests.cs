using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Tests.Costs;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Planning;

public sealed class ObjectiveTests
{
    [Theory]
    [InlineData(1, 0.5, 0.5)]
    [InlineData(2, 1.0, 1.0 / 3)]
    [InlineData(3, 2.0, 0.44444444444444)]
    public void ErlangC_KnownValues_AreExact(int servers, double load, double expected) =>
        Assert.Equal(expected, QueueingModel.ErlangC(servers, load), 10);

    [Fact]
    public void Plan_EveryObjective_IsNoWorseThanTheCapacityPlanByItsOwnMeasure()
    {
        Cluster cluster = new RandomInstances(21).Cluster(6);
        ModelCost model = new RandomInstances(22).Model(16);
        Workload workload = TestClusters.Work(
            400, 150, 0.3, new ServiceTargets { TtftSeconds = 5, TpotSeconds = 0.3 });
        DeploymentPlan capacity = DeploymentPlanner.Plan(cluster, model, workload).Plan!;
        foreach (IPlanObjective objective in new[] { PlanObjectives.Bottleneck, PlanObjectives.Waiting, PlanObjectives.Goodput, PlanObjectives.WithCosts(PlanObjectives.Capacity, 0.2) })
        {
            var options = new PlannerOptions { Objective = objective };
            DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, workload, options).Plan!;
            Assert.Empty(PlanValidator.Validate(plan, cluster, model, workload, options));
            Assert.Equal(objective.Kind, plan.Objective.Kind);
            double its = objective.Evaluate(plan, cluster, model, workload), other = objective.Evaluate(capacity, cluster, model, workload);
            Assert.True(objective.HigherIsBetter ? its >= other : its <= other, $"{objective.Kind}: {its} against {other}");
            Assert.Equal(its, plan.Objective.Value);
        }
    }

    [Fact]
    public void Plan_E2llm_IsValidSeededAndNeverBetterThanExact()
    {
        for (ulong seed = 1; seed <= 8; seed++)
        {
            var random = new RandomInstances(seed);
            Cluster cluster = random.Cluster(6, 0.6);
            ModelCost model = random.Model(16);
            Workload workload = random.Workload();
            var options = new PlannerOptions { Planner = PlannerKind.E2llm, AllowMixed = false, Seed = seed };
            DeploymentPlan? genetic = DeploymentPlanner.Plan(cluster, model, workload, options).Plan;
            DeploymentPlan? exact = DeploymentPlanner.Plan(cluster, model, workload, options with { Planner = PlannerKind.Exact }).Plan;
            if (genetic is not null)
            {
                Assert.Empty(PlanValidator.Validate(genetic, cluster, model, workload, options));
                Assert.True(genetic.Predicted.RequestsPerSecond <= exact!.Predicted.RequestsPerSecond * (1 + 1e-9));
                Assert.Equal(genetic.ToJson(), DeploymentPlanner.Plan(cluster, model, workload, options).Plan!.ToJson());
            }
        }
    }

    [Fact]
    public void Plan_Anytime_ReachesTheExactOptimumOfAMediumCluster()
    {
        var random = new RandomInstances(3);
        Cluster cluster = random.Cluster(12);
        ModelCost model = random.Model(16);
        Workload workload = random.Workload();
        var options = new PlannerOptions { AllowMixed = false, Planner = PlannerKind.Anytime };
        DeploymentPlan anytime = DeploymentPlanner.Plan(cluster, model, workload, options).Plan!;
        DeploymentPlan exact = DeploymentPlanner.Plan(cluster, model, workload, options with { Planner = PlannerKind.Exact }).Plan!;
        Assert.InRange(anytime.Predicted.RequestsPerSecond / exact.Predicted.RequestsPerSecond, 0.97, 1 + 1e-9);
        Assert.True(exact.Predicted.RequestsPerSecond <= anytime.Objective.Bound * (1 + 1e-9));
    }

    [Fact]
    public void Plan_PaperTestbed_UsesSlidingWindowModelAndStaysWithinMemory()
    {
        if (SharedData.Find("data/paper-testbed.json") is not { } path)
        {
            Console.WriteLine("skipped: no ../shared");
            return;
        }

        Cluster cluster = Cluster.Parse(File.ReadAllText(path));
        ModelCost model = ModelCost.Parse(TestClusters.GptOssShape);
        Workload workload = TestClusters.Work(576, 588, 0.5, new ServiceTargets { MinimumDecodeTokensPerSecond = 15 });
        PlanningResult result = DeploymentPlanner.Plan(cluster, model, workload);
        Assert.True(result.IsFeasible, result.Infeasible?.Message);
        Assert.Empty(PlanValidator.Validate(result.Plan, cluster, model, workload));
        Assert.True(result.Plan.Predicted.RequestsPerSecond <= result.Plan.Objective.Bound);
    }
}
