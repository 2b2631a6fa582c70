using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Gguf;
using E2LLM.Planning;
using E2LLM.Replicas;
using E2LLM.Samples.EdgeCluster.Faults;
using E2LLM.Samples.EdgeCluster.Output;
using E2LLM.Samples.EdgeCluster.Stages;
using E2LLM.Transfer;

namespace E2LLM.Samples.EdgeCluster;

/// <summary>The whole story: plan a cluster, bring the plan to life in processes, serve text through it, and check every token.</summary>
internal static class Demo
{
    public static async Task<int> RunAsync(DemoOptions options, TextWriter output, CancellationToken ct)
    {
        Cluster cluster = Cluster.Parse(await File.ReadAllTextAsync(options.ClusterPath, ct));
        ModelCost model = ReadModel(options.ModelPath);
        Workload workload = Workload.Parse(await File.ReadAllTextAsync(options.WorkloadPath, ct));
        if (options.ClusterPath == DemoOptions.EmbeddedCluster && options.ModelPath != DemoOptions.EmbeddedModel)
        {
            (cluster, double factor) = ClusterScale.Fit(cluster, model, ReadModel(DemoOptions.EmbeddedModel));
            output.WriteLine($"The embedded devices fit the embedded model; for this one their memory and speeds are taken {factor:N1} times (--cluster gives your own).");
        }

        output.WriteLine($"Planning {cluster.Devices.Count} devices for {model.Name}: {model.WeightBytes(new LayerRange(0, model.LayerCount), true, true) / 1e6:N1} MB of weights, "
            + $"{model.LayerCount} layers; the largest device gives it {cluster.Devices.Max(device => device.MemoryBytes) / 1e6:N1} MB.");
        output.WriteLine();

        PlanningResult planning = MakePlan(cluster, model, workload, options, ct);
        if (!planning.IsFeasible)
        {
            output.WriteLine($"There is no plan ({planning.Infeasible.Constraint}): {planning.Infeasible.Message}");
            return 1;
        }

        output.WriteLine(DeploymentPlanText.Draw(planning.Plan));
        if (options.PlanOnly)
        {
            return 0;
        }

        if (!ModelCostFile.IsGguf(options.ModelPath))
        {
            output.WriteLine("A shape alone can be planned (--plan-only) but not served; give a GGUF file.");
            return 1;
        }

        return await ServeAsync(planning.Plan, cluster, options, output, ct) ? 0 : 1;
    }

    internal static ModelCost ReadModel(string path) => ModelCostFile.Read(path);

    private static bool IsLossless(string codec) => KvCodecPolicy.TryParse(codec, out KvCodecPolicy? policy) && policy.Codecs.All(one => one.IsLossless);

    /// <summary>Prefill and decode apart where that is possible: the sample is about moving KV caches.</summary>
    internal static PlanningResult MakePlan(Cluster cluster, ModelCost model, Workload workload, DemoOptions options, CancellationToken ct)
    {
        var planner = new PlannerOptions { Seed = options.Seed, AllowMixed = options.PlanOnly };
        PlanningResult result = DeploymentPlanner.Plan(cluster, model, workload, planner, cancellationToken: ct);
        return result.IsFeasible || planner.AllowMixed
            ? result
            : DeploymentPlanner.Plan(cluster, model, workload, planner with { AllowMixed = true }, cancellationToken: ct);
    }

    private static async Task<bool> ServeAsync(DeploymentPlan plan, Cluster cluster, DemoOptions options, TextWriter output, CancellationToken ct)
    {
        ModelIdentity identity;
        using (GgufFile file = GgufFile.Open(options.ModelPath))
        {
            identity = ModelIdentityReader.Read(file);
        }

        output.WriteLine($"Starting {plan.Replicas.Sum(replica => replica.Stages.Count)} processes, one for each stage, on this machine ({Environment.ProcessorCount} processors).");
        await using StageFleet fleet = await StageFleet.StartAsync(plan, cluster, options.ModelPath, options.Kill is { Token: null } order ? order.DeviceIn(plan) : null, ct);
        output.WriteLine($"Each loaded its own layers alone: {fleet.WeightBytes.Sum() / 1e6:N1} MB of weights in all, {fleet.WeightBytes.Max() / 1e6:N1} MB in the largest process.");
        output.WriteLine();

        using var reference = SingleProcess.Load(options.ModelPath);
        IReadOnlyList<DemoRequest> requests = DemoRequest.Create(options, reference.Tokenizer, identity.Shape.ContextLength);
        StageKill? kill = options.Kill is null ? null : new StageKill(options.Kill, plan, fleet, output);
        IReadOnlyList<DemoResult> results;
        await using (Dispatcher dispatcher = await Dispatcher.ConnectAsync(plan, identity, fleet.ConnectAsync, fleet.ReplicaOptions with { KvCodec = options.Codec }, cancellationToken: ct))
        {
            using var served = CancellationTokenSource.CreateLinkedTokenSource(ct);
            Task killing = kill?.ArmAsync(served.Token) ?? Task.CompletedTask;
            results = await Serving.RunAsync(dispatcher, requests, reference.Tokenizer, new LiveText(output), kill, ct);
            await served.CancelAsync();
            await killing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        output.WriteLine();
        kill?.Report();
        ResultTable.Write(output, results);
        output.WriteLine();
        return await reference.AgreesAsync(results, IsLossless(options.Codec), output, ct);
    }
}
