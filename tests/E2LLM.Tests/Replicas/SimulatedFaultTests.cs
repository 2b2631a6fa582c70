using System.Collections.Concurrent;
using System.Globalization;
using E2LLM.Deployment;
using E2LLM.Replicas;
using E2LLM.Sampling;
using E2LLM.Tests.Support;

namespace E2LLM.Tests.Replicas;

[CollectionDefinition(nameof(SimulatedFaultTests), DisableParallelization = true)]
public sealed class SimulatedFaultCollection;

/// <summary>
/// Whole clusters on a simulated network whose faults are drawn from a seed. Whatever happens, each request ends with the monolith's tokens or
/// a typed error behind a beginning of them, and nothing is left. <c>E2LLM_SIMULATION_SEEDS</c> sets how many seeds (default 200).
/// </summary>
[Collection(nameof(SimulatedFaultTests))]
public sealed class SimulatedFaultTests
{
    private static readonly string[] Devices = ["p0", "p1", "q0", "d0", "d1", "d2", "e0", "e1"];

    private static readonly DeploymentPlan Plan = ReplanTests.Plan(
        ReplanTests.Replica("p", ReplicaRole.Prefill, ("p0", 3), ("p1", 5)), ReplanTests.Replica("q", ReplicaRole.Prefill, ("q0", 8)),
        ReplanTests.Replica("d", ReplicaRole.Decode, ("d0", 2), ("d1", 3), ("d2", 3)), ReplanTests.Replica("e", ReplicaRole.Decode, ("e0", 4), ("e1", 4)));

    [Fact]
    public async Task Serve_AnyFaults_EndsWithTheMonolithsTokensOrATypedError()
    {
        int seeds = int.Parse(Environment.GetEnvironmentVariable("E2LLM_SIMULATION_SEEDS") ?? "200", CultureInfo.InvariantCulture);
        int first = int.Parse(Environment.GetEnvironmentVariable("E2LLM_SIMULATION_FIRST_SEED") ?? "1", CultureInfo.InvariantCulture);
        var totals = new ConcurrentDictionary<string, int>();
        await Task.Factory.StartNew(
            () =>
            {
                for (int seed = first; seed < first + seeds; seed++)
                {
                    try
                    {
                        Run(seed, totals);
                    }
                    catch (Exception error)
                    {
                        throw new InvalidOperationException($"Seed {seed}: {error.Message}", error);
                    }
                }
            }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        string told = string.Join(", ", totals.OrderBy(total => total.Key).Select(total => $"{total.Key} {total.Value}"));
        Console.WriteLine($"{seeds} seeds: {told}");
        Assert.True(totals["complete"] > 0.95 * totals["requests"], told);
        Assert.True(totals["recovered"] > 0.15 * totals["requests"], told);
    }

    private static void Run(int seed, ConcurrentDictionary<string, int> totals)
    {
        var random = new Random(seed);
        var time = new ManualTime();
        var network = new SimulatedNetwork(time, seed)
        {
            MaxDelay = TimeSpan.FromMilliseconds(random.Next(4) switch { 0 => 1, 1 => 20, 2 => 100, _ => 500 }),
            BytesPerSecond = random.Next(3) == 0 ? 1e6 / 8 : 1e8,
        };
        var cluster = new SimulatedCluster(time, network);
        Array.ForEach(Devices, cluster.Add);
        var clock = new VirtualRun(time, cluster.LoopWork);
        Dispatcher? dispatcher = null;
        Task<string>[] requests = [];
        clock.Until(
            Task.Run(async () => dispatcher = await Dispatcher.ConnectAsync(Plan, cluster.Model, cluster.ConnectAsync, cluster.Options, new DispatcherOptions
            {
                // What was lost may be there again: the host tries the same plan after a while.
                Replan = async (_, ct) =>
                {
                    await Task.Delay(TimeSpan.FromSeconds(1), time, ct);
                    return Plan;
                },
            })), TimeSpan.FromMinutes(1));
        for (int i = random.Next(1, 6); i > 0; i--)
        {
            Plant(random, network, cluster);
        }

        requests = [.. Enumerable.Range(0, 3).Select(i => ServeAsync(dispatcher!, random.Next(1, 40), random.Next(1, 12), random.Next(2) == 0 ? 0 : 0.9f, i, TimeSpan.FromMilliseconds(random.Next(1000)), time))];
        clock.Until(Task.WhenAll(requests), TimeSpan.FromMinutes(30));
        foreach (Task<string> request in requests)
        {
            totals.AddOrUpdate("requests", 1, (_, count) => count + 1);
            foreach (string what in request.GetAwaiter().GetResult().Split(' '))
            {
                totals.AddOrUpdate(what, 1, (_, count) => count + 1);
            }
        }

        clock.Until(Task.Run(() => dispatcher!.DisposeAsync().AsTask()), TimeSpan.FromMinutes(5));

        // Partitions hide the end from the other side: it notices by its own clock.
        clock.Until(Task.Delay(TimeSpan.FromMinutes(2), time), TimeSpan.FromMinutes(5));
        Assert.All(cluster.AllHosts, host => Assert.Equal((0, 0), (host.UsedKvBlockCount, host.SessionCount)));
        clock.Until(Task.Run(cluster.DisposeAsync), TimeSpan.FromMinutes(5));
        Assert.Equal(0, network.OpenCount);
    }

    /// <summary>Draws a fault and when it happens.</summary>
    private static void Plant(Random random, SimulatedNetwork network, SimulatedCluster cluster)
    {
        TimeSpan at = network.Now + TimeSpan.FromMilliseconds(random.Next(200) * random.Next(20)), until = at + TimeSpan.FromMilliseconds(random.Next(1, 20_000));
        string[] places = [.. Devices, "dispatcher"];
        string one = places[random.Next(places.Length)], other = places[random.Next(places.Length)], device = Devices[random.Next(Devices.Length)];
        int pick = random.Next(1000);
        switch (random.Next(3))
        {
            case 0:
                network.At(at, () => network.Break(pick));
                break;
            case 1:
                network.At(at, () => network.Cut(one, other));
                network.At(until, () => network.Heal(one, other));
                break;
            default:
                network.At(at, () => cluster.Kill(device));
                network.At(until, () => cluster.Restart(device));
                break;
        }
    }

    private static async Task<string> ServeAsync(Dispatcher dispatcher, int length, int count, float temperature, int salt, TimeSpan start, ManualTime time)
    {
        await Task.Delay(start, time);
        ServingRequest request = DispatcherTests.Request(length, count, new SamplingOptions { Temperature = temperature, Seed = (ulong)salt }, salt);
        List<int> expected;
        using (var whole = new ToyExecutor(8, new LayerRange(0, 8)))
        {
            expected = MemoryCluster.Reference(whole, request);
        }

        var tokens = new List<int>();
        ServedRequest served = dispatcher.Serve(request);
        string end = "complete";
        try
        {
            await foreach (int token in served)
            {
                tokens.Add(token);
            }

            Assert.Equal(expected, tokens);
        }
        catch (Exception error) when (error is PeerLostException or NoReplicaException or SequenceFailedException)
        {
            Assert.Equal(expected.Take(tokens.Count), tokens);
            end = error.GetType().Name;
        }

        return served.Report.RecoveryCount > 0 ? $"{end} recovered" : end;
    }
}
