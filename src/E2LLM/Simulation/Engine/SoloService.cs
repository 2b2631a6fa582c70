using E2LLM.Deployment;
using E2LLM.Simulation.Models;

namespace E2LLM.Simulation.Engine;

/// <summary>
/// The service of a request on the idle system under the same plan, on its best route: the same simulation with this request alone up to its second
/// token, for every pair of replicas that could serve it, and from there the sum of its decode steps, which alone in a replica depend on the context only.
/// The best route, and not the one that the router would take, so that a router gains nothing by sending idle requests the slow way. Not thread-safe.
/// </summary>
internal sealed class SoloService(
    IReadOnlyList<ReplicaModel> replicas, NetworkModel network, KvGeometry geometry, SimulationOptions options)
{
    private readonly SimulationOptions _options = options with { Failures = [], Replan = null, Oversized = OversizedRequests.Drop };
    private readonly Dictionary<(int Prompt, int Output), SoloTimes> _known = [];
    private readonly Dictionary<(int Prompt, int Phases, int From, int To), SoloStart> _starts = [];

    // For each replica: seconds of all single-sequence steps at contexts below an index.
    private readonly List<double>?[] _stepSums = new List<double>?[replicas.Count];

    private readonly record struct SoloStart(double FirstToken, double KvReady, double SecondToken);

    /// <summary>Times of a request that has the system for itself.</summary>
    public SoloTimes Of(int promptTokens, int outputTokens)
    {
        if (_known.TryGetValue((promptTokens, outputTokens), out SoloTimes known))
        {
            return known;
        }

        SoloTimes best = promptTokens == 0 && outputTokens == 0 ? default : new SoloTimes(double.NaN, double.PositiveInfinity, 0);
        for (int from = 0; from < replicas.Count && best.EndToEndSeconds > 0; from++)
        {
            for (int to = 0; to < replicas.Count; to++)
            {
                if (IsRoute(from, to, promptTokens, outputTokens) && Times(from, to, promptTokens, outputTokens) is var times && times.EndToEndSeconds < best.EndToEndSeconds)
                {
                    best = times;
                }
            }
        }

        // Where roles forbid every route (all replicas of a role are gone for ever in the plan itself), there is nothing to compare with.
        return _known[(promptTokens, outputTokens)] = double.IsFinite(best.EndToEndSeconds) ? best : default;
    }

    private bool IsRoute(int from, int to, int promptTokens, int outputTokens)
    {
        ReplicaModel source = replicas[from], target = replicas[to];
        int whole = KvMemory.RoundUp(promptTokens + outputTokens);

        // A pool that lends replicas to the other phase has routes that the roles alone do not show.
        bool lends = options.Router == RouterKind.MixedPool;
        return (source.ServesPrefill || lends) && source.CanHold(KvMemory.RoundUp(Math.Max(1, promptTokens)))
            && (outputTokens <= 1 ? from == to : (target.ServesDecode || (lends && from == to)) && target.CanHold(whole) && (from == to || source.Role == ReplicaRole.Prefill || target.Role == ReplicaRole.Decode));
    }

    private SoloTimes Times(int from, int to, int promptTokens, int outputTokens)
    {
        // Beyond the second token only the steps differ; the reservation for a longer output costs no time.
        int phases = Math.Min(outputTokens, 2);
        if (!_starts.TryGetValue((promptTokens, phases, from, to), out SoloStart start))
        {
            var sink = new FirstSink();
            var simulation = new ServingSimulation(replicas, new FairShareNetwork(network), geometry, _options, sink, route: (from, to));
            simulation.Replicas[from].IsLent = !replicas[from].ServesPrefill || (from == to && !replicas[to].ServesDecode);
            simulation.Run([new SimulatedRequest(0, promptTokens, phases)]);
            start = sink.Result is { } done
                ? new SoloStart(done.FirstTokenSeconds, done.KvReadySeconds, done.EndSeconds)
                : new SoloStart(double.NaN, double.NaN, double.PositiveInfinity);
            _starts[(promptTokens, phases, from, to)] = start;
        }

        double end = outputTokens > 2 ? start.SecondToken + Steps(to, promptTokens + 2, outputTokens - 2) : start.SecondToken;
        return new SoloTimes(start.FirstToken, end, start.KvReady - start.FirstToken);
    }

    // Seconds of `count` steps of a single sequence whose first has `context` positions to attend to.
    private double Steps(int replica, int context, int count)
    {
        List<double> sums = _stepSums[replica] ??= [0];
        ReplicaModel model = replicas[replica];
        while (sums.Count <= context + count)
        {
            int at = sums.Count - 1;
            double seconds = 0;
            for (int i = 0; i < model.Stages.Length; i++)
            {
                seconds += model.Stages[i].Times.PassSeconds(0, 0, 1, at, 1);
                StageModel following = model.Stages[(i + 1) % model.Stages.Length];
                seconds += i + 1 < model.Stages.Length
                    ? network.MessageSeconds(model.Stages[i].Device, following.Device, model.HiddenStateBytes)
                    : network.DelaySeconds(model.Stages[i].Device, following.Device);
            }

            sums.Add(sums[at] + seconds);
        }

        return sums[context + count] - sums[context];
    }

    private sealed class FirstSink : IServingSink
    {
        public CompletedRequest? Result { get; private set; }

        public bool WantsTimeline => false;

        public void Completed(in CompletedRequest request) => Result = request;

        public void StagePass(int replica, int stage, double start, double end, int promptTokens, int decodeCount)
        {
            // Not asked for.
        }

        public void Transfer(int fromDevice, int toDevice, double start, double end, long request)
        {
            // Not asked for.
        }
    }
}

/// <summary>Times of a request alone: until its first token, until its last, and between its first token and its KV cache's arrival.</summary>
internal readonly record struct SoloTimes(double TtftSeconds, double EndToEndSeconds, double KvSeconds);
