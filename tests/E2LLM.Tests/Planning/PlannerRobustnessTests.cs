using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Tests.Costs;

namespace E2LLM.Tests.Planning;

/// <summary>Whatever comes in: a valid plan or a reason.</summary>
public sealed class PlannerRobustnessTests
{
    private static readonly ModelCost Llama = ModelCost.Parse(TestClusters.LlamaShape);

    // E2LLM_PLANNER_FUZZ: number of random inputs; a release tries 100,000.
    [Fact]
    public void Plan_RandomAndSenselessInputs_GivesAValidPlanOrAReason()
    {
        int plans = 0, reasons = 0, refused = 0;
        ulong inputs = ulong.TryParse(Environment.GetEnvironmentVariable("E2LLM_PLANNER_FUZZ"), out ulong wanted) ? wanted : 1500;
        for (ulong seed = 1; seed <= inputs; seed++)
        {
            switch (Outcome(seed))
            {
                case "plan":
                    plans++;
                    break;
                case "reason":
                    reasons++;
                    break;
                default:
                    refused++;
                    break;
            }
        }

        Assert.True(plans > (int)inputs / 8 && reasons > (int)inputs / 8 && refused > 0, $"{plans} plans, {reasons} reasons, {refused} refused");
    }

    // What 100,000 inputs found: exceptions that escaped, robust plans that missed their target, plans that changed with the order of devices.
    [Theory]
    [InlineData(1_020_545)]
    [InlineData(1_044_446)]
    [InlineData(1_061_964)]
    [InlineData(1_073_831)]
    [InlineData(1_078_830)]
    [InlineData(1_080_825)]
    [InlineData(1_084_191)]
    public void Plan_InputThatOnceFailed_GivesAValidPlanOrAReason(long seed) => Assert.Contains(Outcome((ulong)seed), new[] { "plan", "reason", "refused" });

    [Fact]
    public void Plan_DevicesPermuted_ChangesNamesOnly()
    {
        for (ulong seed = 1; seed <= 30; seed++)
        {
            var random = new RandomInstances(seed);
            Cluster cluster = seed % 3 == 0 ? random.Linked(4) : random.Cluster(5);
            ModelCost model = random.Model(12);
            Workload workload = random.Workload();
            DeviceProfile[] shuffled = [.. cluster.Devices.OrderBy(_ => random.NextDouble())];
            Cluster permuted = cluster with { Devices = shuffled };
            DeploymentPlan? one = DeploymentPlanner.Plan(cluster, model, workload).Plan, other = DeploymentPlanner.Plan(permuted, model, workload).Plan;
            Assert.Equal(one is null, other is null);
            if (one is not null)
            {
                Assert.Equal((one with { UnusedDevices = [], Explanation = [] }).ToJson(), (other! with { UnusedDevices = [], Explanation = [] }).ToJson());
                Assert.Equal(one.UnusedDevices.Order(), other.UnusedDevices.Order());
            }
        }
    }

    public static TheoryData<string, string> Senseless => new()
    {
        { "nothing", "devices" }, { "zero", "devices[0].computeFlopsPerSecond" }, { "negative", "devices[0].memoryBytesPerSecond" },
        { "nan", "links.default.bytesPerSecond" }, { "infinite", "devices[0].computeFlopsPerSecond" }, { "twice", "devices[1].name" },
        { "unknown", "links.ports[0].device" }, { "memory", "devices[0].memoryBytes" },
    };

    [Theory]
    [MemberData(nameof(Senseless))]
    public void Plan_SenselessCluster_NamesTheProperty(string what, string at)
    {
        Cluster cluster = TestClusters.Uniform(2);
        DeviceProfile first = cluster.Devices[0], second = cluster.Devices[1];
        cluster = what switch
        {
            "nothing" => cluster with { Devices = [] },
            "zero" => cluster with { Devices = [first with { ComputeFlopsPerSecond = 0 }, second] },
            "negative" => cluster with { Devices = [first with { MemoryBytesPerSecond = -1 }, second] },
            "nan" => cluster with { DefaultLink = new NetworkLink(double.NaN, 0) },
            "infinite" => cluster with { Devices = [first with { ComputeFlopsPerSecond = double.PositiveInfinity }, second] },
            "twice" => cluster with { Devices = [first, second with { Name = first.Name }] },
            "unknown" => cluster with { Ports = [new PortLimit("nobody", 1)] },
            _ => cluster with { Devices = [first with { MemoryBytes = -5 }, second] },
        };
        Infeasible reason = DeploymentPlanner.Plan(cluster, Llama, TestClusters.Work(100, 100)).Infeasible!;
        Assert.Equal("input", reason.Constraint);
        Assert.Equal(at, reason.At);
    }

    [Fact]
    public void Plan_NoLinks_UsesOneDeviceOrNamesLinks()
    {
        Cluster apart = TestClusters.Uniform(3) with { DefaultLink = null };
        DeploymentPlan plan = DeploymentPlanner.Plan(apart, Llama, TestClusters.Work(100, 100)).Plan!;
        Assert.Single(Assert.Single(plan.Replicas).Stages);

        Cluster small = apart with { Devices = [.. apart.Devices.Select(d => d with { MemoryBytes = 3_000_000_000 })] };
        Assert.Equal("links", DeploymentPlanner.Plan(small, Llama, TestClusters.Work(100, 100)).Infeasible!.Constraint);
    }

    [Fact]
    public void Plan_ChainOfLinks_BecomesOneMixedReplica()
    {
        var link = new NetworkLink(1e8, 1e-3);
        Cluster chain = TestClusters.Uniform(3) with { DefaultLink = null, Pairs = [new LinkPair("d0", "d1", link), new LinkPair("d1", "d2", link), new LinkPair("d2", "d0", link)] };
        Cluster small = chain with { Devices = [.. chain.Devices.Select(d => d with { MemoryBytes = 2_600_000_000 })] };
        PlanningResult result = DeploymentPlanner.Plan(small, Llama, TestClusters.Work(100, 100));
        Assert.Equal(ReplicaRole.Mixed, Assert.Single(result.Plan!.Replicas).Role);
        Assert.Empty(PlanValidator.Validate(result.Plan, small, Llama, TestClusters.Work(100, 100)));
    }

    [Fact]
    public void Plan_MinimumSpeedBeyondReach_NamesIt() => Assert.Equal(
        "minimumDecodeSpeed",
        DeploymentPlanner.Plan(
            TestClusters.Uniform(3), Llama, TestClusters.Work(100, 100, 1, new ServiceTargets { MinimumDecodeTokensPerSecond = 10_000 })).Infeasible!.Constraint);

    [Fact]
    public void Plan_MoreDevicesThanLayers_StillPlans()
    {
        ModelCost model = new RandomInstances(1).Model(2);
        Cluster cluster = TestClusters.Uniform(7);
        DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, TestClusters.Work(100, 100)).Plan!;
        Assert.Empty(PlanValidator.Validate(plan, cluster, model, TestClusters.Work(100, 100)));
        Assert.All(plan.Replicas, replica => Assert.True(replica.Stages.Count <= 2));
    }

    [Fact]
    public void Plan_ThousandDevices_IsFeasibleWithItsGap()
    {
        var random = new RandomInstances(11);
        Cluster cluster = random.Cluster(1000);
        ModelCost model = random.Model(16);
        Workload workload = random.Workload();
        var options = new PlannerOptions { TimeBudget = TimeSpan.FromSeconds(2) };
        DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, workload, options).Plan!;
        Assert.Empty(PlanValidator.Validate(plan, cluster, model, workload, options));
        Assert.InRange(plan.Objective.GapFraction, 0, 0.6);
    }

    [Fact]
    public void Plan_ManySmallDevices_GrowsGroupsUntilTheyHoldTheModel()
    {
        var random = new RandomInstances(12);
        Cluster cluster = random.Cluster(40);
        cluster = cluster with { Devices = [.. cluster.Devices.Select(d => d with { MemoryBytes = 700_000_000 + (d.MemoryBytes / 100) })] };
        Workload workload = TestClusters.Work(200, 100);
        DeploymentPlan plan = DeploymentPlanner.Plan(cluster, Llama, workload).Plan!;
        Assert.Empty(PlanValidator.Validate(plan, cluster, Llama, workload));
    }

    /// <summary>Plans one random input and holds whatever comes out: "plan", "reason" or "refused".</summary>
    private static string Outcome(ulong seed)
    {
        (Cluster cluster, ModelCost model, Workload workload, PlannerOptions options) = SenselessInstances.Create(seed);
        PlanningResult result;
        try
        {
            result = DeploymentPlanner.Plan(cluster, model, workload, options);
        }
        catch (ArgumentException error)
        {
            Assert.ThrowsAny<ArgumentException>(options.Validate);
            Assert.NotEmpty(error.ParamName!);
            return "refused";
        }

        if (result.IsFeasible)
        {
            IReadOnlyList<string> problems = PlanValidator.Validate(result.Plan, cluster, model, workload, options);
            Assert.True(problems.Count == 0, $"seed {seed}: {string.Join("; ", problems)}");
            double value = result.Plan.Objective.Value, bound = result.Plan.Objective.Bound;
            bool higher = (options.Objective ?? PlanObjectives.Capacity).HigherIsBetter;
            Assert.True(higher ? value <= bound * (1 + 1e-9) : value >= bound * (1 - 1e-9), $"seed {seed}: {value} against {bound}");
            if (seed % 4 == 0)
            {
                Assert.Equal(result.Plan.ToJson(), DeploymentPlanner.Plan(cluster, model, workload, options).Plan!.ToJson());
            }
        }
        else
        {
            Assert.NotEmpty(result.Infeasible.Constraint);
            Assert.NotEmpty(result.Infeasible.Message);
        }

        if (seed % 4 == 1)
        {
            Cluster permuted = SenselessInstances.Permuted(cluster, seed);
            PlanningResult other = DeploymentPlanner.Plan(permuted, model, workload, options);
            Assert.True(result.IsFeasible == other.IsFeasible && result.Infeasible?.Constraint == other.Infeasible?.Constraint, $"seed {seed}: {result.Infeasible?.Message} against {other.Infeasible?.Message}");
            Assert.True(
                !result.IsFeasible || SenselessInstances.WithoutNames(result.Plan, cluster) == SenselessInstances.WithoutNames(other.Plan!, permuted), $"seed {seed}: permuting devices changed more than names");
        }

        return result.IsFeasible ? "plan" : "reason";
    }
}
