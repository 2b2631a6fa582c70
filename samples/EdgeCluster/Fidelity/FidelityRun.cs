using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Gguf;
using E2LLM.Planning;
using E2LLM.Profiling;
using E2LLM.Replicas;
using E2LLM.Samples.EdgeCluster.Stages;
using E2LLM.Simulation;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>
/// Predicted beside measured: profiles every stage alone, simulates the plan on those profiles, then serves the same requests by real processes whose work is slowed to the emulated
/// devices' speeds, and compares time to first token, time per token and waiting.
/// </summary>
internal static class FidelityRun
{
    private const int RequestCount = 100, WarmUpCount = 60, AloneCount = 2, SaturationCount = 400;
    private const double LoadShare = 0.6, WarmUpSeconds = 0.3;

    // A link whose own time is known, to tell the machine's time from it.
    private const double EndlessBytesPerSecond = 1e10;
    private static readonly TimeSpan Latency = TimeSpan.FromMilliseconds(1);

    // Longer than any request takes: simulated one by one.
    private const double AloneSeconds = 1000;
    private static readonly (int Prompt, int Output)[] Lengths = [(32, 24), (64, 40), (96, 56)];

    public static async Task<int> RunAsync(DemoOptions options, TextWriter output, CancellationToken ct)
    {
        string modelPath = Path.GetFullPath(options.ModelPath), linksPath = Path.GetTempFileName();
        try
        {
            ModelCost model = Demo.ReadModel(modelPath);
            Cluster described = Cluster.Parse(await File.ReadAllTextAsync(options.ClusterPath, ct));
            IReadOnlyDictionary<string, double> slowdowns = EmulatedCluster.Slowdowns(described);
            Cluster cluster = EmulatedCluster.WithSlowLinks(described);
            await File.WriteAllTextAsync(linksPath, cluster.ToJson(), ct);

            MeasuredProfile machine = await ProfileProgram.MeasureAsync("this-device", modelPath, new LayerRange(0, 2), ct);
            output.WriteLine(Text($"This machine, one thread: {machine.Decode[0].SecondsPerLayer * 1e6:F0} us a layer to decode one token, within {machine.ErrorFraction:P0}; devices are emulated {slowdowns.Values.Min():F0} to {slowdowns.Values.Max():F0} times slower."));
            Cluster rough = EmulatedCluster.WithProfiles(cluster, _ => machine, slowdowns);
            PlanningResult planning = Demo.MakePlan(rough, model, Work(1), options, ct);
            if (!planning.IsFeasible)
            {
                output.WriteLine($"There is no plan ({planning.Infeasible.Constraint}): {planning.Infeasible.Message}");
                return 1;
            }

            DeploymentPlan plan = planning.Plan;
            output.WriteLine(DeploymentPlanText.Draw(plan));
            StagePlan[] stages = [.. plan.Replicas.SelectMany(replica => replica.Stages)];
            MeasuredProfile[] measured = await Task.WhenAll(stages.Select(stage => ProfileProgram.MeasureAsync(stage.Device, modelPath, stage.Layers, ct)));
            Dictionary<string, MeasuredProfile> profiles = stages.Zip(measured).ToDictionary(pair => pair.First.Device, pair => pair.Second);
            double hop = await HostSecondsOfARoundTripAsync(ct);
            output.WriteLine(Text($"Profiled {profiles.Count} stages, median error {profiles.Values.Select(p => p.ErrorFraction).Order().ElementAt(profiles.Count / 2):P0}; this machine adds {hop * 1e3:F2} ms to a round trip."));
            Cluster emulated = EmulatedCluster.WithLatency(EmulatedCluster.WithProfiles(cluster, name => profiles.GetValueOrDefault(name), slowdowns), hop);
            var policies = new SimulationOptions
            {
                Router = RouterKind.Dispatcher, ChunkTokens = StageFleet.ChunkTokens, MixedChunkTokens = StageFleet.ChunkTokens, BootstrapCount = 0,
            };
            SimulatedRequest[] atOnce = [.. Requests(1, SaturationCount, (int)options.Seed).Select(request => request with { ArrivalSeconds = 0 })];
            double most = ClusterSimulator.Run(plan, emulated, model, atOnce, policies, cancellationToken: ct).RequestsPerSecond;
            SimulatedRequest[] requests = Requests(LoadShare * most, RequestCount, (int)options.Seed);
            ServingReport predicted = ClusterSimulator.Run(plan, emulated, model, requests, policies, cancellationToken: ct);
            SimulatedRequest[] single = [.. Lengths.Select((lengths, i) => new SimulatedRequest(i * AloneSeconds, lengths.Prompt, lengths.Output))];
            var predictedAlone = new AloneRoutes(AloneRoutes.Of(plan)
                .Select(route => ClusterSimulator.Run(route, emulated, model, single, policies, cancellationToken: ct).Requests.Select(AloneRoutes.Measured).ToArray()));
            output.WriteLine(Text($"{requests.Length} requests, Poisson, {LoadShare:P0} of the {most:F2} requests/s that the simulated plan completes on these profiles, over {requests[^1].ArrivalSeconds:F0} s. Predicted first, then measured."));
            (AloneRoutes alone, IReadOnlyList<MeasuredRequest> loaded, double cores) =
                await MeasureAsync(plan, emulated, options, modelPath, requests, device => new Emulation(slowdowns[device], linksPath), ct);
            MeasuredRequest[] foreseen = [.. predicted.Requests.OrderBy(request => request.Id).Select(AloneRoutes.Measured)];
            FidelityTable.Write(output, foreseen, predictedAlone, loaded, alone, cores);
            return 0;
        }
        finally
        {
            File.Delete(linksPath);
        }
    }

    private static async Task<(AloneRoutes Alone, IReadOnlyList<MeasuredRequest> Loaded, double Cores)> MeasureAsync(
        DeploymentPlan plan, Cluster cluster, DemoOptions options, string modelPath, IReadOnlyList<SimulatedRequest> requests, Func<string, Emulation> emulate, CancellationToken ct)
    {
        ModelIdentity identity;
        using (GgufFile file = GgufFile.Open(modelPath))
        {
            identity = ModelIdentityReader.Read(file);
        }

        await using StageFleet fleet = await StageFleet.StartAsync(cluster, modelPath, freezing: null, ct, emulate);
        await ServeAsync(plan, serving => serving.RunAsync([.. Enumerable.Range(0, WarmUpCount).Select(i => new SimulatedRequest(i * WarmUpSeconds, 64, 12))], ct));
        var routes = new List<IReadOnlyList<MeasuredRequest>>();
        foreach (DeploymentPlan route in AloneRoutes.Of(plan))
        {
            routes.Add(await ServeAsync(route, serving => serving.RunAloneAsync(Enumerable.Repeat(Lengths, AloneCount).SelectMany(lengths => lengths), ct)));
        }

        double before = fleet.ProcessorSeconds;
        long began = Stopwatch.GetTimestamp();
        IReadOnlyList<MeasuredRequest> loaded = await ServeAsync(plan, serving => serving.RunAsync(requests, ct));
        return (new AloneRoutes(routes), loaded, (fleet.ProcessorSeconds - before) / Stopwatch.GetElapsedTime(began).TotalSeconds);

        // A dispatcher for each part: the last knows no more of the replicas than the simulated one, what the plan says.
        async Task<IReadOnlyList<MeasuredRequest>> ServeAsync(DeploymentPlan part, Func<LoadedServing, Task<IReadOnlyList<MeasuredRequest>>> serve)
        {
            await using Dispatcher dispatcher = await Dispatcher.ConnectAsync(part, identity, fleet.ConnectAsync, fleet.ReplicaOptions, cancellationToken: ct);
            return await serve(new LoadedServing(dispatcher, identity.Shape.VocabularySize, (int)options.Seed));
        }
    }

    private static Workload Work(double rate) => new()
    {
        Arrivals = ArrivalProcess.Poisson(rate),
        PromptTokens = LengthDistribution.Empirical([.. Lengths.Select(length => length.Prompt)]),
        OutputTokens = LengthDistribution.Empirical([.. Lengths.Select(length => length.Output)]),
    };

    private static SimulatedRequest[] Requests(double rate, int count, int seed)
    {
        var random = new Random(seed);
        var requests = new SimulatedRequest[count];
        double time = 0;
        for (int i = 0; i < requests.Length; i++)
        {
            time += -Math.Log(1 - random.NextDouble()) / rate;
            (int prompt, int output) = Lengths[random.Next(Lengths.Length)];
            requests[i] = new SimulatedRequest(time, prompt, output);
        }

        return requests;
    }

    // What sockets, timers and thread switches of this machine take beside the latency that is emulated.
    private static async Task<double> HostSecondsOfARoundTripAsync(CancellationToken ct)
    {
        using TcpListener listener = Loopback.Listen(out int port);
        Task<Stream> connecting = Loopback.ConnectAsync(port, ct);
        await using Stream other = Paced(await Loopback.AcceptAsync(listener, ct)), own = Paced(await connecting);
        Task responding = LinkProfiler.RespondAsync(other, ct: ct);
        LinkProfile link = await LinkProfiler.MeasureAsync(own, new LinkProfilerOptions { RepeatCount = 101, TransferSeconds = 0.001 }, ct);
        await responding;
        return Math.Max(0, link.ToResponder.RoundTripSeconds - (2 * Latency.TotalSeconds));

        static PacedStream Paced(Stream stream) => new(stream, new Pace(EndlessBytesPerSecond), new Pace(EndlessBytesPerSecond), Latency);
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
