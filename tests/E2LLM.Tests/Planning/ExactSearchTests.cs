using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Tests.Costs;

namespace E2LLM.Tests.Planning;

public sealed class ExactSearchTests
{
    private static readonly PlannerOptions Pure = new() { AllowMixed = false, MaxDecodeSlots = 6 };

    [Fact]
    public void Plan_SmallRandomClusters_EqualsFullEnumeration()
    {
        int planned = 0;
        for (ulong seed = 1; seed <= 60; seed++)
        {
            var random = new RandomInstances(seed);
            int devices = 2 + random.Next(3);
            Cluster cluster = random.Cluster(devices, 0.4);
            ModelCost model = random.Model(3 + random.Next(4));
            Workload workload = random.Workload();
            if (seed % 3 == 0)
            {
                workload = workload with { Targets = new ServiceTargets { MinimumDecodeTokensPerSecond = random.Between(2, 60) } };
            }

            PlanningResult result = DeploymentPlanner.Plan(cluster, model, workload, Pure);
            double expected = new BruteForce(cluster, model, workload, Pure).Capacity();
            if (expected == 0)
            {
                Assert.False(result.IsFeasible, $"seed {seed}");
                continue;
            }

            planned++;
            Assert.True(result.IsFeasible, $"seed {seed}: {result.Infeasible?.Message}");
            Assert.Empty(PlanValidator.Validate(result.Plan, cluster, model, workload, Pure));
            Assert.InRange(result.Plan.Predicted.RequestsPerSecond / expected, 1 - 1e-9, 1 + 1e-9);
            Assert.True(result.Plan.Objective.Proved, $"seed {seed}: gap {result.Plan.Objective.GapFraction}");
        }

        Assert.InRange(planned, 20, 60);
    }

    [Fact]
    public void Plan_LinksThatDiffer_EqualsFullEnumerationOverOrders()
    {
        int planned = 0, proved = 0;
        for (ulong seed = 100; seed < 160; seed++)
        {
            var random = new RandomInstances(seed);
            Cluster cluster = random.Linked(2 + random.Next(3), 0.4);
            ModelCost model = random.Model(3 + random.Next(4));
            Workload workload = random.Workload();
            PlannerOptions options = Pure with { MaxDecodeSlots = 4 };
            PlanningResult result = DeploymentPlanner.Plan(cluster, model, workload, options);
            double expected = new BruteForce(cluster, model, workload, options).Capacity();
            if (expected == 0)
            {
                Assert.False(result.IsFeasible, $"seed {seed}");
                continue;
            }

            planned++;
            Assert.True(result.IsFeasible, $"seed {seed}: {result.Infeasible?.Message}");
            Assert.Empty(PlanValidator.Validate(result.Plan, cluster, model, workload, options));
            Assert.True(Math.Abs(result.Plan.Predicted.RequestsPerSecond - expected) <= 1e-8 * expected, $"seed {seed}: {result.Plan.Predicted.RequestsPerSecond / expected}");
            Assert.True(result.Plan.Objective.Bound >= expected * (1 - 1e-9), $"seed {seed}");
            proved += result.Plan.Objective.Proved ? 1 : 0;
        }

        Assert.InRange(planned, 20, 60);
        Assert.True(proved >= planned * 9 / 10, $"{proved} of {planned} proved");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Plan_PortsThatBind_EqualsFullEnumeration(bool linked)
    {
        int planned = 0, bound = 0;
        for (ulong seed = 200; seed < 230; seed++)
        {
            // Networks of 0.1 to 10 MB/s: the KV caches of prompts, not the devices, limit most replicas.
            var random = new RandomInstances(seed);
            Cluster cluster = linked ? random.Linked(2 + random.Next(3), 0.4) : random.Cluster(2 + random.Next(3), 0.4);
            double slow = random.Between(0.001, 0.1);
            cluster = cluster with
            {
                DefaultLink = cluster.DefaultLink! with { BytesPerSecond = 1e8 * slow },
                Ports = linked ? [.. cluster.Devices.Select(device => new PortLimit(device.Name, random.Between(1e5, 1e7)))] : [],
            };
            ModelCost model = random.Model(3 + random.Next(4));
            Workload workload = random.Workload();
            PlannerOptions options = Pure with { MaxDecodeSlots = 4 };
            PlanningResult result = DeploymentPlanner.Plan(cluster, model, workload, options);
            double expected = new BruteForce(cluster, model, workload, options).Capacity();
            Assert.Equal(expected > 0, result.IsFeasible);
            if (result.IsFeasible)
            {
                planned++;
                bound += result.Plan.Replicas.Any(replica => replica.Bottleneck.Kind == "link") ? 1 : 0;
                Assert.Empty(PlanValidator.Validate(result.Plan, cluster, model, workload, options));
                Assert.True(Math.Abs(result.Plan.Predicted.RequestsPerSecond - expected) <= 1e-8 * expected, $"seed {seed}: {result.Plan.Predicted.RequestsPerSecond / expected}");
                Assert.True(result.Plan.Objective.Bound >= expected * (1 - 1e-9), $"seed {seed}");
            }
        }

        Assert.True(planned >= 10 && bound >= planned / 2, $"{planned} planned, {bound} bound by links");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Plan_MixedRoles_EqualsFullEnumeration(bool slowPorts)
    {
        int planned = 0, used = 0, equal = 0;
        for (ulong seed = 300; seed < 340; seed++)
        {
            // Fast ports never limit, and every plan is proved; through slow ones few KV caches pass, and the bound stays above.
            var random = new RandomInstances(seed);
            Cluster cluster = random.Cluster(1 + random.Next(4), 0.5) with { DefaultLink = new NetworkLink(slowPorts ? random.Between(1e6, 1e8) : 1e11, 1e-4) };
            ModelCost model = random.Model(3 + random.Next(3));
            Workload workload = random.Workload();
            PlannerOptions options = Pure with { AllowMixed = true, MaxDecodeSlots = 4 };
            PlanningResult result = DeploymentPlanner.Plan(cluster, model, workload, options);
            double expected = new BruteForce(cluster, model, workload, options).Capacity();
            Assert.Equal(expected > 0, result.IsFeasible);
            if (result.IsFeasible)
            {
                planned++;
                used += result.Plan.Replicas.Any(replica => replica.Role == ReplicaRole.Mixed) ? 1 : 0;
                double value = result.Plan.Predicted.RequestsPerSecond;
                equal += Math.Abs(value - expected) <= 1e-9 * expected ? 1 : 0;
                Assert.Empty(PlanValidator.Validate(result.Plan, cluster, model, workload, options));
                Assert.True(slowPorts || (value >= expected * (1 - 1e-9) && result.Plan.Objective.Proved), $"seed {seed}: {value / expected}, gap {result.Plan.Objective.GapFraction}");
                Assert.True(result.Plan.Objective.Bound >= expected * (1 - 1e-9) && value <= expected * (1 + 1e-9), $"seed {seed}");
            }
        }

        Assert.True(planned >= 20 && used >= planned / 2 && equal >= planned * 8 / 10, $"{planned} planned, {used} with a mixed replica, {equal} equal");
    }

    [Fact]
    public void Plan_IdenticalDevices_EqualsTheSameDevicesMadeDistinct()
    {
        Cluster classes = new RandomInstances(5).Classes(2, 3);
        ModelCost model = new RandomInstances(6).Model(8);
        Workload workload = TestClusters.Work(500, 200);
        Cluster distinct = classes with { Devices = [.. classes.Devices.Select((d, i) => d with { StageOverheadSeconds = d.StageOverheadSeconds + (i * 1e-13) })] };
        double one = DeploymentPlanner.Plan(classes, model, workload, Pure).Plan!.Predicted.RequestsPerSecond;
        double other = DeploymentPlanner.Plan(distinct, model, workload, Pure).Plan!.Predicted.RequestsPerSecond;
        Assert.InRange(one / other, 1 - 1e-6, 1 + 1e-6);
    }

    [Fact]
    public void Plan_MixedRoles_NeverLoseAndStayBelowTheBound()
    {
        for (ulong seed = 1; seed <= 20; seed++)
        {
            var random = new RandomInstances(seed);
            Cluster cluster = random.Cluster(2 + random.Next(5));
            ModelCost model = random.Model(8 + random.Next(8));
            Workload workload = random.Workload();
            PlanningResult pure = DeploymentPlanner.Plan(cluster, model, workload, Pure);
            PlannerOptions options = Pure with { AllowMixed = true };
            PlanningResult mixed = DeploymentPlanner.Plan(cluster, model, workload, options);
            if (!mixed.IsFeasible)
            {
                Assert.False(pure.IsFeasible);
                continue;
            }

            Assert.Empty(PlanValidator.Validate(mixed.Plan, cluster, model, workload, options));
            double least = pure.Plan?.Predicted.RequestsPerSecond ?? 0, value = mixed.Plan.Predicted.RequestsPerSecond;
            Assert.True(value >= least * (1 - 1e-9), $"seed {seed}");
            Assert.True(value <= mixed.Plan.Objective.Bound * (1 + 1e-9), $"seed {seed}");
        }
    }

    [Fact]
    public void Plan_OneDevice_IsOneMixedReplica()
    {
        Cluster cluster = TestClusters.Uniform(1);
        ModelCost model = ModelCost.Parse(TestClusters.LlamaShape);
        DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, TestClusters.Work(576, 588)).Plan!;
        ReplicaPlan replica = Assert.Single(plan.Replicas);
        Assert.Equal(ReplicaRole.Mixed, replica.Role);
        Assert.Equal(new LayerRange(0, 32), Assert.Single(replica.Stages).Layers);
        Assert.InRange(replica.PrefillShare, 0.01, 0.99);
    }

    [Fact]
    public void Plan_ModelTooBigByOneByte_SaysSo()
    {
        Cluster cluster = TestClusters.Uniform(1);
        ModelCost model = ModelCost.Parse(TestClusters.LlamaShape);
        Workload workload = TestClusters.Work(100, 100);
        long need = DeploymentPlanner.Plan(
            cluster with { Devices = [cluster.Devices[0] with { MemoryBytes = 1000 }] }, model, workload).Infeasible!.NeedBytes;

        Assert.True(DeploymentPlanner.Plan(
            cluster with { Devices = [cluster.Devices[0] with { MemoryBytes = need }] }, model, workload).IsFeasible);
        Infeasible none = DeploymentPlanner.Plan(
            cluster with { Devices = [cluster.Devices[0] with { MemoryBytes = need - 1 }] }, model, workload).Infeasible!;
        Assert.Equal("memory", none.Constraint);
        Assert.Equal("d0", none.At);
        Assert.Equal(1, none.NeedBytes - none.HaveBytes);
    }
}
