using E2LLM.Deployment;
using E2LLM.Simulation;
using E2LLM.Simulation.Engine;
using E2LLM.Simulation.Events;
using E2LLM.Simulation.Models;

namespace E2LLM.Simulation.Validation;

/// <summary>
/// Textbook queues run through the very simulator that serves plans: a prompt's length is its service time in tenths of a microsecond, nothing is generated, and
/// each replica takes one prompt at a time. Waiting times are compared with the closed forms. Shared by the tests and the report.
/// </summary>
internal static class QueueExperiment
{
    /// <summary>Mean waiting time in M/M/1 with service rate 1: <c>rho / (1 - rho)</c>.</summary>
    public static double MM1(double load) => load / (1 - load);

    /// <summary>Mean waiting time in M/D/1 with service time 1: <c>rho / (2 (1 - rho))</c> (Pollaczek-Khinchine).</summary>
    public static double MD1(double load) => load / (2 * (1 - load));

    /// <summary>Mean waiting time in M/M/c with service rate 1 per server: <c>C(c, c rho) / (c (1 - rho))</c>, C from Erlang's recursion.</summary>
    public static double MMc(int servers, double load)
    {
        double offered = servers * load, blocking = 1;
        for (int i = 1; i <= servers; i++)
        {
            blocking = offered * blocking / (i + (offered * blocking));
        }

        return blocking / (1 - (load * (1 - blocking))) / (servers * (1 - load));
    }

    /// <summary>Runs one queue.</summary>
    /// <param name="servers">Replicas; more than one share a central queue.</param>
    /// <param name="load">Arrival rate over service rate, per server; mean service is one second.</param>
    /// <param name="deterministic">Every service takes exactly one second; otherwise they are exponential.</param>
    /// <param name="count">Requests.</param>
    /// <param name="seed">Seed of arrivals and services.</param>
    public static QueueOutcome Run(int servers, double load, bool deterministic, long count, ulong seed)
    {
        var sink = new WaitingSink(count);
        var simulation = Create(servers, sink);
        simulation.Run(Requests(servers * load, deterministic, count, seed));
        return sink.Outcome(simulation);
    }

    /// <summary>Runs given requests on one server that takes one at a time.</summary>
    public static QueueOutcome Run(IReadOnlyList<SimulatedRequest> requests)
    {
        var sink = new WaitingSink(requests.Count);
        var simulation = Create(1, sink);
        simulation.Run(requests);
        return sink.Outcome(simulation);
    }

    private static ServingSimulation Create(int servers, WaitingSink sink)
    {
        ReplicaModel[] replicas = [.. Enumerable.Range(0, servers).Select(i => new ReplicaModel
        {
            Name = $"server{i}",
            Role = ReplicaRole.Prefill,
            Plan = new ReplicaPlan { Name = $"server{i}", Role = ReplicaRole.Prefill, Stages = [] },
            DecodeSlots = 1,
            HiddenStateBytes = 0,
            PrefillTokensPerSecond = TokenTimes.TokensPerSecond,
            DecodeTokensPerSecond = 1,
            Stages = [new StageModel { Device = i, DeviceName = $"server{i}", Layers = new LayerRange(0, 1), Times = new TokenTimes(), KvCapacityBytes = 1, Kv = [] }],
        })];
        var options = new SimulationOptions
        {
            Router = servers > 1 ? RouterKind.CentralQueue : RouterKind.JsqWait,
            Batching = PrefillBatching.WholePrompts,
            MaxBatchTokens = 1,
        };
        return new ServingSimulation(replicas, new FairShareNetwork(NetworkModel.Isolated(servers)), new KvGeometry([]), options, sink);
    }

    /// <summary>The requests of a queue, the same for the same seed.</summary>
    public static IEnumerable<SimulatedRequest> Requests(double rate, bool deterministic, long count, ulong seed)
    {
        var arrivals = new SeededRandom(seed, stream: 1);
        var services = new SeededRandom(seed, stream: 2);
        double time = 0;
        for (long i = 0; i < count; i++)
        {
            time += arrivals.NextExponential() / rate;
            double seconds = deterministic ? 1 : services.NextExponential();
            yield return new SimulatedRequest(time, Math.Max(1, (int)Math.Round(seconds * TokenTimes.TokensPerSecond)), 0);
        }
    }

    /// <summary>Seconds proportional to prompt tokens, nothing else.</summary>
    internal sealed class TokenTimes : StageTimes
    {
        /// <summary>Resolution of service times: a tenth of a microsecond, so that 200 seconds still fit a token count.</summary>
        public const double TokensPerSecond = 1e7;

        /// <inheritdoc/>
        public override double PassSeconds(int chunkTokens, double chunkContext, int decodeCount, double decodeContext, int headRows) =>
            chunkTokens / TokensPerSecond;
    }

    private sealed class WaitingSink(long count) : IServingSink
    {
        private readonly BatchMeans _means = new(count);
        private double _endToEnd;

        public bool WantsTimeline => false;

        public void Completed(in CompletedRequest request)
        {
            _means.Add(request.Id, request.PrefillStartSeconds - request.Request.ArrivalSeconds);
            _endToEnd += request.EndSeconds - request.Request.ArrivalSeconds;
        }

        public void StagePass(int replica, int stage, double start, double end, int promptTokens, int decodeCount)
        {
            // Not asked for.
        }

        public void Transfer(int fromDevice, int toDevice, double start, double end, long request)
        {
            // Not asked for.
        }

        public QueueOutcome Outcome(ServingSimulation simulation) => new(
            simulation.CompletedCount, _means.Mean, _means.HalfWidth, _endToEnd, simulation.RequestSeconds, simulation.LogHash);
    }
}

/// <summary>Mean wait with the half-width of its 95 % interval (batch means), and both sides of Little's law.</summary>
internal readonly record struct QueueOutcome(
    long Count, double MeanWaitSeconds, double HalfWidthSeconds, double SumOfEndToEndSeconds, double RequestSeconds, ulong LogHash)
{
    public bool Covers(double exact) => Math.Abs(MeanWaitSeconds - exact) <= HalfWidthSeconds;

    public double LittleError => Math.Abs(RequestSeconds - SumOfEndToEndSeconds) / SumOfEndToEndSeconds;
}
