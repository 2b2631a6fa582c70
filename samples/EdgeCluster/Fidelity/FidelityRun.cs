using System.Globalization;
using System.Net.Sockets;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Profiling;
using E2LLM.Samples.EdgeCluster.Stages;
using E2LLM.Simulation;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>
/// Predicted beside measured: profiles every stage alone, simulates the plan on those profiles, then serves the same requests by real processes whose work is slowed to the emulated
/// devices' speeds, and compares time to first token, time per token and waiting.
/// </summary>
internal static class FidelityRun
{
    private const int SaturationCount = 400;
    private const double LoadShare = 0.6;

    // A link whose own time is known, to tell the machine's time from it.
    private const double EndlessBytesPerSecond = 1e10;
    private static readonly TimeSpan Latency = TimeSpan.FromMilliseconds(1);

    // Longer than any request takes: simulated one by one.
    private const double AloneSeconds = 1000;

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

            DeviceProfile machine = await ProfileProgram.MeasureAsync("this-device", modelPath, new LayerRange(0, 2), ct);
            output.WriteLine(Text($"This machine, one thread: {machine.Profile!.Decode[0].SecondsPerLayer * 1e6:F0} us a layer to decode one token, within {machine.Profile.ErrorFraction:P0}; devices are emulated {slowdowns.Values.Min():F0} to {slowdowns.Values.Max():F0} times slower."));
            PlanningResult planning = Demo.MakePlan(EmulatedCluster.WithProfiles(cluster, _ => machine, slowdowns), model, FidelityRequests.Workload, options, ct);
            if (!planning.IsFeasible)
            {
                output.WriteLine($"There is no plan ({planning.Infeasible.Constraint}): {planning.Infeasible.Message}");
                return 1;
            }

            DeploymentPlan plan = planning.Plan;
            output.WriteLine(DeploymentPlanText.Draw(plan));
            await using StageFleet fleet = await StageFleet.StartAsync(cluster, modelPath, freezing: null, ct, device => Emulate(device));
            double hop = await HostSecondsOfARoundTripAsync(ct);
            DeviceProfile[] profiles = [.. plan.Replicas.SelectMany(replica => replica.Stages).Select(stage => fleet[stage.Device].Profile!)];
            output.WriteLine(Text($"Profiled {profiles.Length} stages, median error {profiles.Select(one => one.Profile!.ErrorFraction).Order().ElementAt(profiles.Length / 2):P0}; this machine adds {hop * 1e3:F2} ms to a round trip."));
            Cluster emulated = EmulatedCluster.WithLatency(EmulatedCluster.WithProfiles(cluster, name => fleet[name].Profile, slowdowns), hop);

            var prediction = new Prediction(emulated, model, StageFleet.ChunkTokens, ct);
            double most = prediction.RequestsPerSecond(plan, [.. FidelityRequests.Poisson(1, SaturationCount, (int)options.Seed).Select(request => request with { ArrivalSeconds = 0 })]);
            SimulatedRequest[] requests = FidelityRequests.Poisson(LoadShare * most, options.Requests, (int)options.Seed);
            IReadOnlyList<MeasuredRequest> predicted = prediction.Of(plan, requests);
            SimulatedRequest[] single = [.. FidelityRequests.Lengths.Select((lengths, i) => new SimulatedRequest(i * AloneSeconds, lengths.Prompt, lengths.Output))];
            var predictedAlone = new AloneRoutes(AloneRoutes.Of(plan).Select(route => prediction.Of(route, single)));
            output.WriteLine(Text($"{requests.Length} requests, Poisson, {LoadShare:P0} of the {most:F2} requests/s that the simulated plan completes on these profiles, over {requests.LastOrDefault().ArrivalSeconds:F0} s. Predicted first, then measured."));

            var measurement = new Measurement(fleet, modelPath, (int)options.Seed);
            await measurement.WarmUpAsync(plan, ct);
            AloneRoutes alone = await measurement.AloneAsync(plan, ct);
            FidelityTable.WriteAlone(output, predictedAlone, alone);
            if (requests.Length > 0)
            {
                (IReadOnlyList<MeasuredRequest> measured, double cores) = await measurement.LoadedAsync(plan, requests, ct);
                FidelityTable.Write(output, predicted, predictedAlone, measured, alone, cores);
            }

            return 0;

            Emulation Emulate(string device)
            {
                StagePlan? own = plan.Replicas.SelectMany(replica => replica.Stages).FirstOrDefault(stage => stage.Device == device);
                return new Emulation(slowdowns[device], linksPath, modelPath, own?.Layers ?? default, own?.Embedding == true);
            }
        }
        finally
        {
            File.Delete(linksPath);
        }
    }

    // What sockets, timers and thread switches of this machine take beside the latency that is emulated.
    private static async Task<double> HostSecondsOfARoundTripAsync(CancellationToken ct)
    {
        using TcpListener listener = Loopback.Listen(out int port);
        Task<Stream> connecting = Loopback.ConnectAsync(port, ct);
        await using Stream other = Paced(await Loopback.AcceptAsync(listener, ct)), own = Paced(await connecting);
        Task responding = LinkProfiler.RespondAsync(other, cancellationToken: ct);
        LinkProfile link = await LinkProfiler.MeasureAsync(own, new LinkProfilerOptions { RepeatCount = 101, TransferSeconds = 0.001 }, ct);
        await responding;
        return Math.Max(0, link.ToResponder.RoundTripSeconds - (2 * Latency.TotalSeconds));

        static PacedStream Paced(Stream stream) => new(stream, new Pace(EndlessBytesPerSecond), new Pace(EndlessBytesPerSecond), Latency);
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
