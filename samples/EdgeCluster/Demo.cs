using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Gguf;
using E2LLM.Planning;
using E2LLM.Replicas;
using E2LLM.Samples.EdgeCluster.Changes;
using E2LLM.Samples.EdgeCluster.Output;
using E2LLM.Samples.EdgeCluster.Stages;
using E2LLM.Transfer;

namespace E2LLM.Samples.EdgeCluster;

/// <summary>The whole story: plan a cluster, bring the plan to life in processes, serve text through it, and check every token.</summary>
internal static class Demo
{
    public static async Task<int> RunAsync(DemoOptions options, TextWriter output, CancellationToken ct)
    {
        ModelCost model = ReadModel(options.ModelPath);
        Workload workload = Workload.Parse(await File.ReadAllTextAsync(options.WorkloadPath, ct));
        double factor = options.ClusterPath == DemoOptions.EmbeddedCluster && options.ModelPath != DemoOptions.EmbeddedModel
            ? ClusterScale.FactorFor(model, ReadModel(DemoOptions.EmbeddedModel)) : 1;
        Cluster cluster = ClusterScale.Scale(Cluster.Parse(await File.ReadAllTextAsync(options.ClusterPath, ct)), factor);
        DeviceProfile? newcomer = options.Add?.In(ClusterScale.Scale(Cluster.Parse(await File.ReadAllTextAsync(DemoOptions.Newcomers, ct)), factor), cluster);
        if (factor > 1)
        {
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

        using var membership = new Membership(cluster, model, workload, options, planning.Plan, output);
        return await ServeAsync(membership, newcomer, options, output, ct) ? 0 : 1;
    }

    internal static ModelCost ReadModel(string path) => ModelCostFile.Read(path);

    internal static PlanningResult MakePlan(Cluster cluster, ModelCost model, Workload workload, DemoOptions options, CancellationToken ct) =>
        Planned(options, planner => DeploymentPlanner.Plan(cluster, model, workload, planner, cancellationToken: ct));

    /// <summary>Prefill and decode apart where that is possible: the sample is about moving KV caches.</summary>
    internal static PlanningResult Planned(DemoOptions options, Func<PlannerOptions, PlanningResult> plan)
    {
        var planner = new PlannerOptions { Seed = options.Seed, AllowMixed = options.PlanOnly };
        PlanningResult result = plan(planner);
        return result.IsFeasible || planner.AllowMixed ? result : plan(planner with { AllowMixed = true });
    }

    private static bool IsLossless(string codec) => KvCodecPolicy.TryParse(codec, out KvCodecPolicy? policy) && policy.Codecs.All(one => one.IsLossless);

    private static async Task<bool> ServeAsync(Membership membership, DeviceProfile? newcomer, DemoOptions options, TextWriter output, CancellationToken ct)
    {
        ModelIdentity identity;
        using (GgufFile file = GgufFile.Open(options.ModelPath))
        {
            identity = ModelIdentityReader.Read(file);
        }

        DeploymentPlan plan = membership.Plan;
        output.WriteLine($"Starting {membership.Cluster.Devices.Count} processes, one for each device, on this machine ({Environment.ProcessorCount} processors). None has the model's file.");
        await using StageFleet fleet = await StageFleet.StartAsync(membership.Cluster, options.ModelPath, StageKill.Freezing(options.Kill, plan), ct);
        using var reference = SingleProcess.Load(options.ModelPath);
        StageKill? kill = options.Kill is null ? null : new StageKill(options.Kill, membership, fleet, output);
        DeviceJoin? join;
        IReadOnlyList<DemoResult> results;
        await using (Dispatcher dispatcher = await Dispatcher.ConnectAsync(
            plan, identity, fleet.ConnectAsync, fleet.ReplicaOptions with { KvCodec = options.Codec }, new DispatcherOptions { Replan = membership.ReplanAsync }, ct))
        {
            output.WriteLine($"Each got its own layers over a stream, and nothing else: {fleet.Weights.Held.Values.Sum(held => held.WeightBytes) / 1e6:N1} MB of weights in all.");
            output.WriteLine();
            DeviceTable.Write(output, membership.Cluster, fleet.Weights.Held);
            output.WriteLine();
            fleet.Weights.Loaded = now => output.WriteLine($"  {DeviceTable.Tell(now)}.");
            join = newcomer is null ? null : new DeviceJoin(newcomer, options.Add!.Token, membership, fleet, dispatcher, output);
            using var served = CancellationTokenSource.CreateLinkedTokenSource(ct);
            Task killing = kill?.ArmAsync(served.Token) ?? Task.CompletedTask;
            results = await ServeWavesAsync(Wave, dispatcher, kill, join, output);
            await served.CancelAsync();
            await killing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);

            Task<IReadOnlyList<DemoResult>> Wave(int wave) => Serving.RunAsync(
                dispatcher, DemoRequest.Create(options, reference.Tokenizer, identity.Shape.ContextLength, wave), reference.Tokenizer, new LiveText(output),
                (request, run, count) =>
                {
                    kill?.OnToken(request, run, count);
                    join?.OnToken(ct);
                }, ct);
        }

        output.WriteLine();
        kill?.Report();
        if (join?.HasBegun == false)
        {
            output.WriteLine($"Nothing joined: fewer than {options.Add!.Token} tokens came out.");
        }

        ResultTable.Write(output, results);
        output.WriteLine();
        return await reference.AgreesAsync(results, IsLossless(options.Codec), output, ct);
    }

    /// <summary>Serves the requests; after a change requests keep coming until the new plan is in use, and then once more, so that it is seen at work.</summary>
    private static async Task<IReadOnlyList<DemoResult>> ServeWavesAsync(Func<int, Task<IReadOnlyList<DemoResult>>> wave, Dispatcher dispatcher, StageKill? kill, DeviceJoin? join, TextWriter output)
    {
        int count = 0;
        List<DemoResult> results = [.. await wave(count++)];
        if (kill?.HasHappened != true && join?.HasBegun != true)
        {
            return results;
        }

        Task settled = Task.WhenAll(dispatcher.SettleAsync(), join?.Completion ?? Task.CompletedTask);
        while (!settled.IsCompleted)
        {
            results.AddRange(await wave(count++));
        }

        await settled;
        output.WriteLine($"  IN USE: {string.Join(", ", dispatcher.Replicas.Select(replica => $"{replica.Name} ({replica.Plan.Role.ToString().ToLowerInvariant()})"))}; the requests once more.");
        results.AddRange(await wave(count));
        return results;
    }
}
