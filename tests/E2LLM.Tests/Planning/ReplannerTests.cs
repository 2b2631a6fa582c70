using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;

namespace E2LLM.Tests.Planning;

public sealed class ReplannerTests
{
    private static readonly PlannerOptions Options = new() { AllowMixed = false };

    [Fact]
    public void Replan_AnyDeviceLost_StaysNearAFullPlanAndMovesNoMore()
    {
        for (ulong seed = 1; seed <= 6; seed++)
        {
            var random = new RandomInstances(seed);
            Cluster cluster = random.Cluster(7);
            ModelCost model = random.Model(24);
            Workload workload = random.Workload();
            if (DeploymentPlanner.Plan(cluster, model, workload, Options).Plan is not { } plan)
            {
                continue;
            }

            foreach (DeviceProfile lost in cluster.Devices)
            {
                Cluster left = cluster with { Devices = [.. cluster.Devices.Where(device => device != lost)] };
                ReplanResult result = Replanner.Replan(plan, left, model, workload, Options);
                DeploymentPlan? full = DeploymentPlanner.Plan(left, model, workload, Options).Plan;
                Assert.Equal(full is null, !result.Result.IsFeasible);
                if (full is null)
                {
                    continue;
                }

                Assert.Empty(PlanValidator.Validate(result.Result.Plan!, left, model, workload, Options));
                Assert.True(result.Result.Plan!.Predicted.RequestsPerSecond >= 0.95 * full.Predicted.RequestsPerSecond);
                Assert.True(result.MovedBytes <= PlanDifference.MovedBytes(plan, full, model));
                Assert.Equal(PlanDifference.MovedBytes(plan, result.Result.Plan!, model), result.MovedBytes);
            }
        }
    }

    [Fact]
    public void Replan_ADeviceLost_MovesNearTheFewestBytesOfAnyPlan()
    {
        int losses = 0, few = 0;
        PlannerOptions options = Options with { MaxDecodeSlots = 4, ExplainMemory = false };
        for (ulong seed = 501; seed <= 504; seed++)
        {
            var random = new RandomInstances(seed);
            Cluster cluster = random.Cluster(5, 0.4);
            ModelCost model = random.Model(5);
            Workload workload = random.Workload();
            if (DeploymentPlanner.Plan(cluster, model, workload, options).Plan is not { } plan)
            {
                continue;
            }

            foreach (DeviceProfile lost in cluster.Devices)
            {
                Cluster left = cluster with { Devices = [.. cluster.Devices.Where(device => device != lost)] };
                ReplanResult result = Replanner.Replan(plan, left, model, workload, options);
                if (result.Result.IsFeasible)
                {
                    losses++;
                    long fewest = MoveEnumeration.FewestBytes(plan, left, model, workload, options, 0.95 * result.FullPlanCapacity);
                    Assert.True(result.MovedBytes >= fewest, $"seed {seed}, {lost.Name}");
                    few += result.MovedBytes <= 1.3 * fewest ? 1 : 0;
                }
            }
        }

        Assert.True(losses >= 8 && few >= losses - 1, $"{few} of {losses}");
    }

    [Fact]
    public void Replan_NothingChanged_MovesNothing()
    {
        var random = new RandomInstances(3);
        Cluster cluster = random.Cluster(6);
        ModelCost model = random.Model(24);
        Workload workload = random.Workload();
        DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, workload, Options).Plan!;
        ReplanResult result = Replanner.Replan(plan, cluster, model, workload, Options);
        Assert.Equal(0, result.MovedBytes);
        Assert.Equal(plan.Predicted.RequestsPerSecond, result.Result.Plan!.Predicted.RequestsPerSecond, 9);
    }

    [Fact]
    public void Replan_DeviceAdded_IsNeverWorse()
    {
        var random = new RandomInstances(4);
        Cluster cluster = random.Cluster(5);
        ModelCost model = random.Model(24);
        Workload workload = random.Workload();
        DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, workload, Options).Plan!;
        Cluster larger = cluster with { Devices = [.. cluster.Devices, random.Device("new", 1)] };
        DeploymentPlan after = Replanner.Replan(plan, larger, model, workload, Options, 1).Result.Plan!;
        Assert.True(after.Predicted.RequestsPerSecond >= plan.Predicted.RequestsPerSecond * (1 - 1e-9));
    }

    [Fact]
    public void MovedBytes_RoleFlipAndShorterRange_AreFree()
    {
        ModelCost model = new RandomInstances(1).Model(4);
        DeploymentPlan plan = Of(ReplicaRole.Prefill, 0, 2), flipped = Of(ReplicaRole.Decode, 4, 2), longer = Of(ReplicaRole.Prefill, 0, 3);
        Assert.Equal(0, PlanDifference.MovedBytes(plan, flipped, model));
        Assert.Equal(model.Layers[2].WeightBytes, PlanDifference.MovedBytes(plan, longer, model));
        Assert.Equal(model.Layers[2].WeightBytes, PlanDifference.MovedBytes(longer, plan, model));
        Assert.Equal(model.WeightBytes(new LayerRange(0, 4), true, true) + (model.TiedHead ? model.EmbeddingBytes : 0), PlanDifference.MovedBytes(null, plan, model));
    }

    [Fact]
    public void Plan_SpeedsUncertain_IsNoWorseInTheWorstCaseThanTheNominalPlan()
    {
        for (ulong seed = 1; seed <= 4; seed++)
        {
            var random = new RandomInstances(seed);
            Cluster cluster = random.Cluster(6);
            ModelCost model = random.Model(20);
            Workload workload = random.Workload();
            PlannerOptions robust = Options with { SpeedErrorFraction = 0.3 };
            DeploymentPlan? nominal = DeploymentPlanner.Plan(cluster, model, workload, Options).Plan;
            if (nominal is null)
            {
                continue;
            }

            DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, workload, robust).Plan!;
            Assert.Empty(PlanValidator.Validate(plan, cluster, model, workload, robust));
            var corner = new PlanEvaluator(RobustSearch.Slowest(cluster, 0.3), model, workload, robust);
            double worst = corner.Capacity(plan), nominalWorst = corner.Capacity(nominal);
            for (ulong draw = 0; draw < 32; draw++)
            {
                // The corner is the worst case: no draw is below it.
                var evaluator = new PlanEvaluator(RobustSearch.Perturb(cluster, 0.3, 77 + draw), model, workload, robust);
                Assert.True(evaluator.Capacity(plan) >= worst * (1 - 1e-9));
            }

            Assert.True(worst >= nominalWorst * (1 - 1e-9));
        }
    }

    [Fact]
    public void Plan_TwoReplicasPerPhaseWanted_HasThem()
    {
        var random = new RandomInstances(8);
        Cluster cluster = random.Cluster(8);
        ModelCost model = random.Model(12);
        Workload workload = random.Workload();
        PlannerOptions two = Options with { MinimumReplicasPerPhase = 2 };
        DeploymentPlan free = DeploymentPlanner.Plan(cluster, model, workload, Options).Plan!, plan = DeploymentPlanner.Plan(cluster, model, workload, two).Plan!;
        Assert.True(plan.Replicas.Count(item => item.Role == ReplicaRole.Prefill) >= 2);
        Assert.True(plan.Replicas.Count(item => item.Role == ReplicaRole.Decode) >= 2);
        Assert.True(plan.Predicted.RequestsPerSecond <= free.Predicted.RequestsPerSecond * (1 + 1e-9));
        Assert.Empty(PlanValidator.Validate(plan, cluster, model, workload, two));
    }

    private static DeploymentPlan Of(ReplicaRole role, int slots, int cut) => new()
    {
        Planner = "hand",
        ModelName = "m",
        Objective = new PlanObjective { Kind = "capacity" },
        Replicas =
        [
            new ReplicaPlan
            {
                Name = "r0",
                Role = role,
                DecodeSlots = slots,
                Stages =
                [
                    new StagePlan { Device = "a", Layers = new LayerRange(0, cut), Embedding = true },
                    new StagePlan { Device = "b", Layers = new LayerRange(cut, 4), Head = true },
                ],
            },
        ],
    };
}
