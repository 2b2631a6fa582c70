using E2LLM.Simulation.Events;
using E2LLM.Simulation.Models;
using E2LLM.Simulation.Policies;

namespace E2LLM.Simulation.Engine;

/// <summary>
/// The simulation of a deployment: arrivals, passes, transfers and failures in the order of the event calendar. The rules are spread over the
/// parts of this class by phase (arrival here; Prefill, Transfer, Decode, Failure beside it). One run per instance; not thread-safe.
/// </summary>
internal sealed partial class ServingSimulation
{
    private const int Arrival = 0, LaneDone = 1, FlowStart = 2, NetworkStep = 3, FlowDelivered = 4, SwapDone = 5, FailureDown = 6, FailureUp = 7, ReplicaLoaded = 8, OpeningMoves = 9;
    private const int LaneBits = 8;
    private readonly EventCalendar _calendar = new();
    private readonly SimulationOptions _options;
    private readonly FairShareNetwork _network;
    private readonly KvGeometry _geometry;
    private readonly IServingSink _sink;
    private readonly RequestRouter _router;
    private readonly List<ReplicaState> _replicas = [];
    private readonly List<RequestState> _slots = [];
    private readonly Stack<RequestState> _freeSlots = new();
    private readonly LinkedList<RequestState> _parked = new();
    private readonly List<int> _flowsDone = [];
    private IEnumerator<SimulatedRequest> _source = null!;
    private double _lastChange;
    private int _networkStamp;

    /// <summary>Prepares a run.</summary>
    /// <param name="replicas">The deployment.</param>
    /// <param name="network">Ports and links; belongs to this run.</param>
    /// <param name="geometry">Bytes of keys and values.</param>
    /// <param name="options">Policies.</param>
    /// <param name="sink">Takes the results.</param>
    /// <param name="replan">What re-planning needs; null where there is none.</param>
    /// <param name="route">The two replicas that every request takes; null: the router of the options chooses.</param>
    public ServingSimulation(
        IReadOnlyList<ReplicaModel> replicas, FairShareNetwork network, KvGeometry geometry, SimulationOptions options, IServingSink sink,
        Replanning? replan = null, (int Prefill, int Decode)? route = null)
    {
        _replanning = replan;
        (_network, _geometry, _options, _sink) = (network, geometry, options, sink);
        foreach (ReplicaModel model in replicas)
        {
            _replicas.Add(new ReplicaState(_replicas.Count, model, options, network));
        }

        _router = route is { } fixedRoute
            ? new FixedRouter(_replicas, CanMove, fixedRoute.Prefill, fixedRoute.Decode)
            : RequestRouter.Create(options, _replicas, CanMove);
    }

    public double Now => _calendar.Now;

    public IReadOnlyList<ReplicaState> Replicas => _replicas;

    public long ArrivedCount { get; private set; }

    public long CompletedCount { get; private set; }

    public long DroppedCount { get; private set; }

    public int InFlightCount { get; private set; }

    public long GeneratedTokens { get; private set; }

    public long PrefilledTokens { get; private set; }

    /// <summary>Bytes of KV caches delivered between replicas.</summary>
    public double KvBytesMoved => _network.DeliveredBytes;

    /// <summary>The integral of the number of requests in the system over time: by Little's law the sum of their end-to-end times.</summary>
    public double RequestSeconds { get; private set; }

    public long EventCount => _calendar.Taken;

    public ulong LogHash => _calendar.LogHash;

    /// <summary>Runs until every request is done.</summary>
    /// <param name="requests">In the order of arrival.</param>
    /// <param name="progress">Told the number of completed requests now and then.</param>
    /// <param name="cancellationToken">Stops the run.</param>
    public void Run(IEnumerable<SimulatedRequest> requests, IProgress<long>? progress = null, CancellationToken cancellationToken = default)
    {
        using (_source = requests.GetEnumerator())
        {
            for (int i = 0; i < _options.Failures.Count; i++)
            {
                ScheduleFailure(i);
            }

            ScheduleNextArrival();
            while (_calendar.TryTake(out SimulationEvent next))
            {
                Handle(next);
                if ((_calendar.Taken & 0xFFFFF) == 0)
                {
                    cancellationToken.ThrowIfCancellationRequested();
                    progress?.Report(CompletedCount);
                }
            }
        }

        if (InFlightCount > 0)
        {
            throw new InvalidOperationException(
                $"{InFlightCount} requests cannot go on at {Now} s: no replica that can serve them is up. Let a failed device come back, or drop a failure.");
        }
    }

    private void Handle(in SimulationEvent next)
    {
        switch (next.Kind)
        {
            case Arrival:
                Arrive(next.Target);
                break;
            case LaneDone:
                CompletePass(_replicas[next.Target >> LaneBits], next.Target & ((1 << LaneBits) - 1), next.Stamp);
                break;
            case FlowStart:
                StartFlow(next.Target);
                break;
            case NetworkStep:
                StepNetwork(next.Stamp);
                break;
            case FlowDelivered:
                DeliverFlow(next.Target);
                break;
            case SwapDone:
                SwappedIn(_slots[next.Target], next.Stamp);
                break;
            case FailureDown:
                TakeDown(_options.Failures[next.Target]);
                break;
            case FailureUp:
                BringUp(_options.Failures[next.Target]);
                break;
            case OpeningMoves:
                MoveOpening(_slots[next.Target], next.Stamp);
                break;
            default:
                ReplicaIsLoaded(next.Target);
                break;
        }
    }

    private void ScheduleNextArrival()
    {
        if (!_source.MoveNext())
        {
            return;
        }

        SimulatedRequest next = _source.Current;
        if (!(next.ArrivalSeconds >= Now) || next.PromptTokens < 0 || next.OutputTokens < 0 || !double.IsFinite(next.ArrivalSeconds))
        {
            throw new ArgumentException($"Request {ArrivedCount} ({next}) comes before the one ahead of it, or has a negative length.");
        }

        if (!_freeSlots.TryPop(out RequestState? request))
        {
            request = new RequestState(_slots.Count);
            _slots.Add(request);
        }

        request.Begin(ArrivedCount, next.ArrivalSeconds, next.PromptTokens, next.OutputTokens);
        _calendar.Schedule(next.ArrivalSeconds, Arrival, request.Slot);
    }

    private void Arrive(int slot)
    {
        RequestState request = _slots[slot];
        ArrivedCount++;
        CountInFlight(+1);
        if (request.PromptTokens == 0 && request.OutputTokens == 0)
        {
            Complete(request);
        }
        else if (!FitsSomewhere(request))
        {
            Drop(request);
        }
        else
        {
            Dispatch(request);
        }

        ScheduleNextArrival();
    }

    private void Dispatch(RequestState request)
    {
        if (_router.TryRoute(request))
        {
            Admit(request);
        }
        else
        {
            request.Phase = RequestPhase.Parked;
            _parked.AddLast(request.Node);
        }
    }

    // Requests that found no replica are offered again when one has room or is back.
    private void OfferParked()
    {
        while (_parked.First is { } first && _router.TryRoute(first.Value))
        {
            _parked.RemoveFirst();
            Admit(first.Value);
        }
    }

    private bool FitsSomewhere(RequestState request)
    {
        bool prefill = false, decode = request.OutputTokens <= 1;
        int whole = KvMemory.RoundUp(request.PromptTokens + request.OutputTokens), prompt = KvMemory.RoundUp(request.PrefillTokens);
        foreach (ReplicaState replica in _replicas)
        {
            prefill |= replica.Model.ServesPrefill && replica.Model.CanHold(replica.Model.ServesDecode ? whole : prompt);
            decode |= replica.Model.ServesDecode && replica.Model.CanHold(whole);
        }

        return prefill && decode;
    }

    private void Drop(RequestState request)
    {
        if (_options.Oversized == OversizedRequests.Throw)
        {
            throw new ArgumentException(
                $"Request {request.Id} ({request.PromptTokens} + {request.OutputTokens} tokens) needs more KV memory than any replica of the plan has.");
        }

        DroppedCount++;
        CountInFlight(-1);
        Recycle(request);
    }

    private void Complete(RequestState request)
    {
        CompletedCount++;
        CountInFlight(-1);
        ObserveForReplanning(request);
        double now = Now;
        _sink.Completed(new CompletedRequest
        {
            Id = request.Id,
            Request = new SimulatedRequest(request.ArrivalSeconds, request.PromptTokens, request.OutputTokens),
            PrefillReplica = request.PrefillReplica,
            DecodeReplica = request.DecodeReplica >= 0 ? request.DecodeReplica : request.PrefillReplica,
            PrefillStartSeconds = double.IsNaN(request.PrefillStart) ? now : request.PrefillStart,
            FirstTokenSeconds = double.IsNaN(request.FirstToken) ? now : request.FirstToken,
            KvReadySeconds = double.IsNaN(request.KvReady) ? now : request.KvReady,
            DecodeStartSeconds = request.DecodeStart,
            EndSeconds = now,
            LongestGapSeconds = request.LongestGap,
        });
        Recycle(request);
    }

    private void Recycle(RequestState request)
    {
        request.Epoch++;
        request.IsActive = false;
        _freeSlots.Push(request);
    }

    private void CountInFlight(int change)
    {
        RequestSeconds += InFlightCount * (Now - _lastChange);
        _lastChange = Now;
        InFlightCount += change;
    }
}
