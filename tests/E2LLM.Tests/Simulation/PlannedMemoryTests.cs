using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Simulation;
using E2LLM.Simulation.Models;
using E2LLM.Tests.Costs;
using E2LLM.Tests.Planning;

namespace E2LLM.Tests.Simulation;

/// <summary>A plan that fits by the planner's account of memory can be simulated with what it was made for.</summary>
public sealed class PlannedMemoryTests
{
    // So little memory that nothing is left for passes of 512 tokens beside the planned keys and values.
    [Theory]
    [InlineData(64, 64)]
    [InlineData(20, 7)]
    [InlineData(1, 300)]
    [InlineData(700, 1)]
    public void Run_OfAPlanForTheLeastMemory_ServesEveryRequest(int prompt, int output)
    {
        ModelCost model = new RandomInstances(5).Model(12);
        Workload workload = TestClusters.Work(prompt, output, 0.2);
        (Cluster cluster, DeploymentPlan plan) = Tightest(new RandomInstances(6).Cluster(3), model, workload);
        ServingReport report = ClusterSimulator.Run(plan, cluster, model, workload, 20, new SimulationOptions { BootstrapCount = 0 });
        Assert.Equal(20, report.RequestCount);
    }

    [Fact]
    public void Run_OfRandomTightPlans_ServesEveryRequest()
    {
        int simulated = 0;
        for (ulong seed = 1; seed <= 12; seed++)
        {
            var random = new RandomInstances(seed);
            Cluster cluster = random.Cluster(5, 0.15);
            ModelCost model = random.Model(10);
            int prompt = 1 + random.Next(200), output = 2 + random.Next(300);
            Workload workload = TestClusters.Work(prompt, output, 0.3) with
            {
                PromptTokens = LengthDistribution.LogNormal(prompt, prompt * 3),
                OutputTokens = LengthDistribution.LogNormal(output, output * 3),
            };
            var options = new PlannerOptions { AllowMixed = seed % 2 == 0 };
            if (DeploymentPlanner.Plan(cluster, model, workload, options).Plan is { } plan)
            {
                Assert.Empty(PlanValidator.Validate(plan, cluster, model, workload, options));
                Assert.Equal(30, ClusterSimulator.Run(plan, cluster, model, workload, 30, new SimulationOptions { BootstrapCount = 0 }).RequestCount);
                simulated++;
            }
        }

        Assert.True(simulated >= 6, $"only {simulated} of 12 instances had a plan");
    }

    [Fact]
    public void Build_OfATightStage_KeepsPlannedKeysAndValuesAndCutsThePass()
    {
        ModelCost model = new RandomInstances(5).Model(12);
        Workload workload = TestClusters.Work(64, 64, 0.2);
        (Cluster cluster, DeploymentPlan plan) = Tightest(new RandomInstances(6).Cluster(1), model, workload);
        StagePlan stage = Assert.Single(Assert.Single(plan.Replicas).Stages);
        cluster = cluster with { Devices = [cluster.Devices[0] with { MemoryBytes = stage.MemoryBytes }] };
        ReplicaModel tight = Assert.Single(ReplicaModels.Build(plan, cluster, model, 512, longestPrompt: 64));
        Assert.Equal(64, tight.PassTokens);
        Assert.True(tight.CanHold(128));

        // With memory to spare prompts share passes of whole chunks again; the rest of it holds more keys and values.
        Cluster wide = cluster with { Devices = [cluster.Devices[0] with { MemoryBytes = stage.MemoryBytes + model.ActivationBytes(512, 0, true) }] };
        ReplicaModel roomy = Assert.Single(ReplicaModels.Build(plan, wide, model, 512, longestPrompt: 64));
        Assert.Equal(512, roomy.PassTokens);
        Assert.True(roomy.Stages[0].KvCapacityBytes >= tight.Stages[0].KvCapacityBytes);
    }

    [Theory]
    [InlineData(1, 64)]
    [InlineData(64, 64)]
    [InlineData(65, 128)]
    public void WholeBlocks_OfTokens_RoundsUp(long tokens, long expected) => Assert.Equal(expected, StageMemory.WholeBlocks(tokens));

    // The least memory, to a thousandth, at which the devices (all scaled alike) still hold a plan.
    private static (Cluster Cluster, DeploymentPlan Plan) Tightest(Cluster cluster, ModelCost model, Workload workload)
    {
        double low = 0, high = 1;
        (Cluster, DeploymentPlan)? best = null;
        var options = new PlannerOptions { MaxDecodeSlots = 2 };
        for (int i = 0; i < 14; i++)
        {
            double scale = best is null ? high : (low + high) / 2;
            Cluster scaled = cluster with { Devices = [.. cluster.Devices.Select(d => d with { MemoryBytes = (long)(d.MemoryBytes * scale) })] };
            if (DeploymentPlanner.Plan(scaled, model, workload, options).Plan is { } plan)
            {
                (best, high) = ((scaled, plan), scale);
            }
            else
            {
                (low, high) = best is null ? (scale, scale * 2) : (scale, high);
            }
        }

        return best!.Value;
    }
}
