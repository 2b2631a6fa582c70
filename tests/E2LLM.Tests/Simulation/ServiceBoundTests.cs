using System.Globalization;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Simulation;
using E2LLM.Simulation.Validation;
using Xunit.Abstractions;

namespace E2LLM.Tests.Simulation;

/// <summary>The judge of a lower bound is the simulator: no plan and no policy may ever get below it.</summary>
public class ServiceBoundTests(ITestOutputHelper output)
{
    private static readonly DeploymentPlan[] Plans = [SmallDeployment.Split, SmallDeployment.Mixed, SmallDeployment.FourSingles];

    [Theory]
    [InlineData(300, 60, 0.02, 60)]
    [InlineData(300, 60, 0.5, 60)]
    [InlineData(300, 60, 5, 12)]
    [InlineData(40, 200, 0.3, 80)]
    [InlineData(1500, 8, 0.6, 40)]
    public void MeanEndToEnd_OfAnyPlanAndPolicy_IsNotBelowTheBound(int prompt, int generated, double period, int count)
    {
        double bound = new ServiceBound(SmallDeployment.Cluster, SmallDeployment.Model, prompt, generated, period, count).MeanEndToEndSeconds(), least = double.PositiveInfinity;
        SimulatedRequest[] requests = [.. Enumerable.Range(0, count).Select(i => new SimulatedRequest(i * period, prompt, generated))];
        foreach (DeploymentPlan plan in Plans)
        {
            foreach (RouterKind router in Enum.GetValues<RouterKind>())
            {
                foreach (int chunk in (int[])[64, 512])
                {
                    var options = new SimulationOptions { Router = router, ChunkTokens = chunk, MixedChunkTokens = chunk, BootstrapCount = 0 };
                    least = Math.Min(least, ClusterSimulator.Run(plan, SmallDeployment.Cluster, SmallDeployment.Model, requests, options).EndToEndSeconds.Mean);
                }
            }
        }

        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"bound {bound:F3} s, best of all runs {least:F3} s"));
        Assert.InRange(bound, 1e-9, least);
    }

    [Fact]
    public void Bound_OfOneRequestOnOneDevice_IsNearlyItsService()
    {
        Cluster one = SmallDeployment.Cluster with { Devices = [SmallDeployment.Cluster.Devices[0]] };
        DeploymentPlan plan = SmallDeployment.Plan(SmallDeployment.Replica("m", ReplicaRole.Mixed, 1, ("a", 0, 8)));
        double service = ClusterSimulator.Run(plan, one, SmallDeployment.Model, [new SimulatedRequest(0, 300, 60)]).EndToEndSeconds.Mean;
        double bound = new ServiceBound(one, SmallDeployment.Model, 300, 60, 1, 1).MeanEndToEndSeconds();
        Assert.InRange(bound / service, 0.9, 1);
    }

    [Fact]
    public void Bound_InADeepOverloadOfOneDevice_GrowsAsTheQueueDoes()
    {
        // Prompts only, one device: every request needs the device for its service, so they end one after the other whatever the policy. Work-conserving, the mean is that of the straight line.
        Cluster one = SmallDeployment.Cluster with { Devices = [SmallDeployment.Cluster.Devices[0]] };
        DeploymentPlan plan = SmallDeployment.Plan(SmallDeployment.Replica("m", ReplicaRole.Mixed, 1, ("a", 0, 8)));
        SimulatedRequest[] requests = [.. Enumerable.Range(0, 50).Select(i => new SimulatedRequest(i * 0.01, 2000, 1))];
        double simulated = ClusterSimulator.Run(plan, one, SmallDeployment.Model, requests, new SimulationOptions { BootstrapCount = 0 }).EndToEndSeconds.Mean;
        double bound = new ServiceBound(one, SmallDeployment.Model, 2000, 1, 0.01, 50).MeanEndToEndSeconds();
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"bound {bound:F3} s, simulated {simulated:F3} s"));
        Assert.InRange(bound / simulated, 0.8, 1);
    }
}
