using E2LLM.Simulation.Models;

namespace E2LLM.Simulation.Engine;

/// <summary>
/// The service of a request on the idle system under the same plan and policies: the same simulation with this request alone up to its second
/// token, and from there the sum of its decode steps, which alone in a replica depend on the context only. Results are kept by length. Not thread-safe.
/// </summary>
internal sealed class SoloService(
    IReadOnlyList<ReplicaModel> replicas, NetworkModel network, KvGeometry geometry, SimulationOptions options)
{
    private readonly SimulationOptions _options = options with { Failures = [], Replan = null, Oversized = OversizedRequests.Drop };
    private readonly Dictionary<(int Prompt, int Output), SoloTimes> _known = [];

    // For each replica: seconds of all single-sequence steps at contexts below an index.
    private readonly List<double>?[] _stepSums = new List<double>?[replicas.Count];

    /// <summary>Times of a request that has the system for itself.</summary>
    public SoloTimes Of(int promptTokens, int outputTokens)
    {
        if (_known.TryGetValue((promptTokens, outputTokens), out SoloTimes known))
        {
            return known;
        }

        var sink = new FirstSink();
        var simulation = new ServingSimulation(replicas, new FairShareNetwork(network), geometry, _options, sink);
        simulation.Run([new SimulatedRequest(0, promptTokens, outputTokens)], stopAfterTokens: outputTokens > 2 ? 2 : long.MaxValue);
        RequestState? request = simulation.Single;
        SoloTimes times = sink.Result is { } done
            ? new SoloTimes(done.FirstTokenSeconds, done.EndSeconds, done.KvReadySeconds - done.FirstTokenSeconds)
            : request is null
                ? default
                : new SoloTimes(request.FirstToken, request.LastToken + Steps(request.DecodeReplica, request.Context, outputTokens - 2), request.KvReady - request.FirstToken);
        return _known[(promptTokens, outputTokens)] = times;
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
            for (int i = 0; i < model.Stages.Count; i++)
            {
                seconds += model.Stages[i].Times.PassSeconds(0, 0, 1, at, 1);
                StageModel following = model.Stages[(i + 1) % model.Stages.Count];
                seconds += i + 1 < model.Stages.Count
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
