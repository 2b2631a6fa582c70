using E2LLM.Costs;
using E2LLM.Simulation.Metrics;

namespace E2LLM.Simulation.Engine;

/// <summary>Keeps every completed request of a run and makes the report of them. Not thread-safe.</summary>
internal sealed class ReportCollector(int capacity, SimulationTimeline? timeline) : IServingSink
{
    private readonly List<CompletedRequest> _requests = new(capacity);

    /// <inheritdoc/>
    public bool WantsTimeline => timeline is not null;

    /// <inheritdoc/>
    public void Completed(in CompletedRequest request) => _requests.Add(request);

    /// <inheritdoc/>
    public void StagePass(int replica, int stage, double start, double end, int promptTokens, int decodeCount) =>
        timeline?.AddPass(replica, stage, start, end, promptTokens, decodeCount);

    /// <inheritdoc/>
    public void Transfer(int fromDevice, int toDevice, double start, double end, long request) =>
        timeline?.AddTransfer(fromDevice, toDevice, start, end, request);

    /// <summary>The report of the run; call once, after it.</summary>
    public ServingReport Report(ServingSimulation simulation, SoloService solo, SimulationOptions options, ServiceTargets? targets)
    {
        _requests.Sort((a, b) => a.Id.CompareTo(b.Id));
        int n = _requests.Count;
        double[] waiting = new double[n], ttft = new double[n], endToEnd = new double[n];
        var tpot = new List<double>(n);
        var gaps = new List<double>(n);
        double prefillQueue = 0, kvWait = 0, decodeQueue = 0, service = 0, first = double.PositiveInfinity, last = 0;
        int met = 0;
        for (int i = 0; i < n; i++)
        {
            CompletedRequest r = _requests[i];
            SoloTimes alone = solo.Of(r.Request.PromptTokens, r.Request.OutputTokens);
            double arrival = r.Request.ArrivalSeconds, perToken = 0;
            endToEnd[i] = r.EndSeconds - arrival;
            ttft[i] = r.FirstTokenSeconds - arrival;
            waiting[i] = endToEnd[i] - alone.EndToEndSeconds;
            service += alone.EndToEndSeconds;
            prefillQueue += r.PrefillStartSeconds - arrival;
            if (r.Request.OutputTokens > 1)
            {
                perToken = (r.EndSeconds - r.FirstTokenSeconds) / (r.Request.OutputTokens - 1);
                tpot.Add(perToken);
                gaps.Add(r.LongestGapSeconds);
                kvWait += r.KvReadySeconds - r.FirstTokenSeconds - alone.KvSeconds;
                decodeQueue += r.DecodeStartSeconds - r.KvReadySeconds;
            }

            met += Meets(targets, ttft[i], perToken) ? 1 : 0;
            first = Math.Min(first, arrival);
            last = Math.Max(last, r.EndSeconds);
        }

        double span = last > first ? last - first : double.NaN;
        SampleSummary Summary(ReadOnlySpan<double> samples) => SampleSummary.Of(samples, options.BootstrapCount, options.Seed);
        return new ServingReport
        {
            RequestCount = n,
            DroppedCount = simulation.DroppedCount,
            Seed = options.Seed,
            Router = SimulationOptions.NameOf(options.Router),
            WaitingSeconds = Summary(waiting),
            PrefillQueueSeconds = prefillQueue / n,
            KvWaitSeconds = kvWait / n,
            DecodeQueueSeconds = decodeQueue / n,
            TtftSeconds = Summary(ttft),
            TpotSeconds = Summary(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(tpot)),
            EndToEndSeconds = Summary(endToEnd),
            LongestGapSeconds = Summary(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(gaps)),
            MeanServiceSeconds = service / n,
            RequestsPerSecond = n / span,
            TokensPerSecond = simulation.GeneratedTokens / span,
            GoodputRequestsPerSecond = met / span,
            Attainment = (double)met / n,
            KvBytesMoved = simulation.KvBytesMoved,
            Utilisation = [.. simulation.Replicas.SelectMany(r => r.Model.Stages.Select((s, i) =>
                new StageUtilisation(r.Model.Name, i, s.DeviceName, r.BusySeconds[i] / span)))],
            PrefilledTokens = simulation.PrefilledTokens,
            GeneratedTokens = simulation.GeneratedTokens,
            RequestSeconds = simulation.RequestSeconds,
            EventCount = simulation.EventCount,
            LogHash = simulation.LogHash,
            ReplanCount = simulation.ReplanCount,
            Requests = _requests,
        };
    }

    private static bool Meets(ServiceTargets? targets, double ttft, double tpot) =>
        targets is null
        || (!(ttft > targets.TtftSeconds) && !(tpot > targets.TpotSeconds)
            && !(targets.MinimumDecodeTokensPerSecond is { } least && tpot > 0 && 1 / tpot < least));
}
