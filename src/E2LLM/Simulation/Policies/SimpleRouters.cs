using E2LLM.Simulation.Engine;
using E2LLM.Simulation.Events;

namespace E2LLM.Simulation.Policies;

/// <summary>Joins the replica with the fewest requests of the phase.</summary>
internal sealed class JsqCountRouter(List<ReplicaState> replicas, Func<int, int, bool> canMove) : RequestRouter(replicas, canMove)
{
    /// <inheritdoc/>
    protected override double PrefillKey(ReplicaState replica, RequestState request) =>
        replica.PendingPrefills + (replica.Model.ServesDecode ? replica.PendingDecodes : 0);

    /// <inheritdoc/>
    protected override double DecodeKey(ReplicaState replica, RequestState request) => replica.PendingDecodes;
}

/// <summary>Joins the replica with the fewest tokens left to do in the phase.</summary>
internal sealed class JsqTokensRouter(List<ReplicaState> replicas, Func<int, int, bool> canMove) : RequestRouter(replicas, canMove)
{
    /// <inheritdoc/>
    protected override double PrefillKey(ReplicaState replica, RequestState request) =>
        replica.PendingPromptTokens + (replica.Model.ServesDecode ? replica.PendingOutputTokens : 0);

    /// <inheritdoc/>
    protected override double DecodeKey(ReplicaState replica, RequestState request) => replica.PendingOutputTokens;
}

/// <summary>Draws two replicas of the phase and takes the one with the shorter estimated wait (Mitzenmacher, 2001).</summary>
internal sealed class PowerOfTwoRouter(List<ReplicaState> replicas, Func<int, int, bool> canMove, ulong seed) : RequestRouter(replicas, canMove)
{
    private readonly SeededRandom _random = new(seed, stream: 7);
    private readonly List<int> _candidates = [];
    private int _first, _second;

    /// <inheritdoc/>
    public override bool TryRoute(RequestState request)
    {
        Draw(static r => r.AcceptsPrefill);
        return base.TryRoute(request);
    }

    /// <inheritdoc/>
    public override int ChooseDecode(RequestState request, bool withMemoryNow)
    {
        Draw(static r => r.AcceptsDecode);
        return base.ChooseDecode(request, withMemoryNow);
    }

    /// <inheritdoc/>
    protected override double PrefillKey(ReplicaState replica, RequestState request) => Drawn(replica, WaitEstimate.PrefillSeconds(replica, request));

    /// <inheritdoc/>
    protected override double DecodeKey(ReplicaState replica, RequestState request) => Drawn(replica, WaitEstimate.DecodeSeconds(replica, request));

    private void Draw(Func<ReplicaState, bool> qualifies)
    {
        _candidates.Clear();
        for (int i = 0; i < Replicas.Count; i++)
        {
            if (qualifies(Replicas[i]))
            {
                _candidates.Add(i);
            }
        }

        (_first, _second) = (-1, -1);
        if (_candidates.Count > 0)
        {
            int first = _random.NextInt32(_candidates.Count), second = _candidates.Count > 1 ? _random.NextInt32(_candidates.Count - 1) : 0;
            (_first, _second) = (_candidates[first], _candidates[_candidates.Count > 1 && second >= first ? second + 1 : second]);
        }
    }

    // The others remain as a last resort, where neither of the two can hold the request.
    private double Drawn(ReplicaState replica, double key) => replica.Index == _first || replica.Index == _second ? key : 1e12 + key;
}

/// <summary>Requests wait at the dispatcher for the first replica with an idle lane and no prompt; of several, the fastest.</summary>
internal sealed class CentralQueueRouter(List<ReplicaState> replicas, Func<int, int, bool> canMove) : RequestRouter(replicas, canMove)
{
    /// <inheritdoc/>
    public override bool TryRoute(RequestState request)
    {
        request.PrefillReplica = BestPrefill(request, static r => r.AcceptsPrefill && !r.HasPromptWork && Array.Exists(r.Lanes, static l => !l.InFlight));
        return request.PrefillReplica >= 0;
    }

    /// <inheritdoc/>
    protected override double PrefillKey(ReplicaState replica, RequestState request) => WaitEstimate.PrefillSeconds(replica, request);

    /// <inheritdoc/>
    protected override double DecodeKey(ReplicaState replica, RequestState request) => WaitEstimate.DecodeSeconds(replica, request);
}

/// <summary>Every request takes the same two replicas: what a request would get on that route.</summary>
internal sealed class FixedRouter(List<ReplicaState> replicas, Func<int, int, bool> canMove, int prefill, int decode) : RequestRouter(replicas, canMove)
{
    /// <inheritdoc/>
    protected override double PrefillKey(ReplicaState replica, RequestState request) => replica.Index == prefill ? 0 : double.PositiveInfinity;

    /// <inheritdoc/>
    protected override double DecodeKey(ReplicaState replica, RequestState request) => replica.Index == decode ? 0 : double.PositiveInfinity;
}
