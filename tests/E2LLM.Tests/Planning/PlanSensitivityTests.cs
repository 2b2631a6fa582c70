using System.Globalization;
using System.Text.RegularExpressions;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;

namespace E2LLM.Tests.Planning;

/// <summary>What the explanation says of more memory is what a plan with that memory gives.</summary>
public sealed partial class PlanSensitivityTests
{
    [Fact]
    public void Explanation_OfSmallClusters_IsWhatAPlanWithThatMemoryGives()
    {
        int helped = 0, not = 0;
        for (ulong seed = 1; seed <= 20; seed++)
        {
            var random = new RandomInstances(seed);
            Cluster cluster = random.Cluster(6);
            ModelCost model = random.Model(16);
            Workload workload = random.Workload();
            if (DeploymentPlanner.Plan(cluster, model, workload).Plan is not { } plan)
            {
                continue;
            }

            string line = Line(plan)!;
            double before = plan.Predicted.RequestsPerSecond;
            if (Helps().Match(line) is { Success: true } match)
            {
                helped++;
                Cluster raised = WithMemory(cluster, match.Groups["device"].Value, long.Parse(match.Groups["bytes"].Value, CultureInfo.InvariantCulture));
                double after = DeploymentPlanner.Plan(raised, model, workload).Plan!.Predicted.RequestsPerSecond;
                Assert.Equal(after.ToString("G4", CultureInfo.InvariantCulture), match.Groups["capacity"].Value);
                Assert.True(after > before);
                Assert.Contains(plan.Explanation, text => text.StartsWith("What would help besides", StringComparison.Ordinal) || plan.Replicas.All(r => r.Role == ReplicaRole.Mixed));
            }
            else
            {
                not += line.StartsWith("More memory would not help: a quarter more", StringComparison.Ordinal) ? 1 : 0;
                Assert.DoesNotContain("seems", line, StringComparison.Ordinal);
                foreach (Match name in Quoted().Matches(line))
                {
                    DeviceProfile device = cluster.Devices[cluster.IndexOf(name.Groups["device"].Value)];
                    Cluster raised = WithMemory(cluster, device.Name, device.MemoryBytes + (device.MemoryBytes / 4));
                    Assert.InRange(DeploymentPlanner.Plan(raised, model, workload).Plan!.Predicted.RequestsPerSecond / before, 0.999, 1.0011);
                }
            }
        }

        Assert.True(helped >= 2 && not >= 2, $"{helped} helped, {not} did not");
    }

    [Theory]
    [InlineData(14, true)]
    [InlineData(65, false)]
    public void Explanation_OfLargerClusters_PlansOneReplicaAgainOrIsSilent(int devices, bool speaks)
    {
        var random = new RandomInstances(5);
        Cluster cluster = random.Cluster(devices);
        ModelCost model = random.Model(24);
        Workload workload = random.Workload();
        DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, workload).Plan!;
        Assert.Equal(speaks, Line(plan) is not null);
        if (Line(plan) is { } line && Helps().Match(line) is { Success: true } match)
        {
            // Only one replica was planned again, so a whole plan is no worse than what is said.
            Assert.Contains("planned again around the others", line, StringComparison.Ordinal);
            Cluster raised = WithMemory(cluster, match.Groups["device"].Value, long.Parse(match.Groups["bytes"].Value, CultureInfo.InvariantCulture));
            double said = double.Parse(match.Groups["capacity"].Value, CultureInfo.InvariantCulture);
            Assert.True(DeploymentPlanner.Plan(raised, model, workload).Plan!.Predicted.RequestsPerSecond >= said * 0.999);
        }
    }

    [Fact]
    public void Explanation_WithATimeBudget_SaysNothingOfMemory()
    {
        var random = new RandomInstances(1);
        Cluster cluster = random.Cluster(6);
        ModelCost model = random.Model(16);
        Workload workload = random.Workload();
        DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, workload, new PlannerOptions { TimeBudget = TimeSpan.FromSeconds(10) }).Plan!;
        Assert.Null(Line(plan));
        Assert.NotNull(Line(DeploymentPlanner.Plan(cluster, model, workload).Plan!));
    }

    private static string? Line(DeploymentPlan plan) => plan.Explanation.SingleOrDefault(line => line.StartsWith("More memory", StringComparison.Ordinal));

    private static Cluster WithMemory(Cluster cluster, string name, long bytes) =>
        cluster with { Devices = [.. cluster.Devices.Select(device => device.Name == name ? device with { MemoryBytes = bytes } : device)] };

    [GeneratedRegex(@"^More memory helps most on '(?<device>[^']+)': with (?<bytes>\d+) bytes, \d+ % more, the capacity would be (?<capacity>\S+) instead of ")]
    private static partial Regex Helps();

    [GeneratedRegex(@"'(?<device>[^']+)'")]
    private static partial Regex Quoted();
}
