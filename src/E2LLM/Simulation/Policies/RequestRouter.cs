using E2LLM.Deployment;
using E2LLM.Simulation.Engine;

namespace E2LLM.Simulation.Policies;

/// <summary>Chooses the replicas of a request. One instance per run; allocates nothing per request; not thread-safe.</summary>
internal abstract class RequestRouter(List<ReplicaState> replicas, Func<int, int, bool> canMove)
{
    /// <summary>The replicas, new ones of a new plan included.</summary>
    protected List<ReplicaState> Replicas { get; } = replicas;

    /// <summary>Creates the router that <paramref name="options"/> asks for.</summary>
    public static RequestRouter Create(SimulationOptions options, List<ReplicaState> replicas, Func<int, int, bool> canMove) => options.Router switch
    {
        RouterKind.JsqWait => new JsqWaitRouter(replicas, canMove),
        RouterKind.JsqCount => new JsqCountRouter(replicas, canMove),
        RouterKind.JsqTokens => new JsqTokensRouter(replicas, canMove),
        RouterKind.MixedPool => new MixedPoolRouter(replicas, canMove, options.MixedPoolPromptTokens),
        RouterKind.PowerOfTwo => new PowerOfTwoRouter(replicas, canMove, options.Seed),
        RouterKind.CentralQueue => new CentralQueueRouter(replicas, canMove),
        RouterKind.LeastDelay => new LeastDelayRouter(replicas, canMove),
        RouterKind.AddedRate => new AddedRateRouter(replicas, canMove),
        RouterKind.Dispatcher => new DispatcherRouter(replicas, canMove),
        _ => throw new ArgumentOutOfRangeException(nameof(options), options.Router, "Unknown router."),
    };

    /// <summary>Sets the request's prefill replica (and its decode replica, where the policy chooses both at once); false where it has to wait.</summary>
    public virtual bool TryRoute(RequestState request)
    {
        request.PrefillReplica = BestPrefill(request, static r => r.AcceptsPrefill);

        // No prefill replica is up: one that only decodes can pass over prompts too.
        if (request.PrefillReplica < 0 && !Replicas.Any(static r => r.AcceptsPrefill))
        {
            request.PrefillReplica = BestPrefill(request, static r => r.IsUp);
        }

        return request.PrefillReplica >= 0;
    }

    /// <summary>The decode replica for a request whose prefill replica is known, or -1 where there is none (with room at this moment, if asked for).</summary>
    public virtual int ChooseDecode(RequestState request, bool withMemoryNow)
    {
        int whole = KvMemory.RoundUp(request.PromptTokens + request.OutputTokens);
        bool fromMixed = Replicas[request.PrefillReplica].Model.Role == ReplicaRole.Mixed;
        int best = -1;
        double least = double.PositiveInfinity;
        for (int i = 0; i < Replicas.Count; i++)
        {
            ReplicaState r = Replicas[i];
            if (r.AcceptsDecode && MayDecode(r, request.PrefillReplica, fromMixed) && canMove(request.PrefillReplica, r.Index) && r.Model.CanHold(whole)
                && (!withMemoryNow || (r.WaitingForMemory.Count == 0 && r.Memory.Fits(0, whole))) && DecodeKey(r, request) is var value && value < least)
            {
                (best, least) = (i, value);
            }
        }

        return best;
    }

    /// <summary>A prompt has been read.</summary>
    public virtual void PromptRead(ReplicaState replica, RequestState request, double now)
    {
    }

    /// <summary>A replica has no prompt left.</summary>
    public virtual void ReplicaIdle(ReplicaState replica)
    {
    }

    /// <summary>A replica of both phases keeps its prompts or gives them to replicas that only decode; it does not swap them with its likes.</summary>
    protected static bool MayDecode(ReplicaState target, int source, bool sourceIsMixed) =>
        !sourceIsMixed || target.Index == source || target.Model.Role == ReplicaRole.Decode;

    /// <summary>What a prefill replica is judged by, smallest first.</summary>
    protected abstract double PrefillKey(ReplicaState replica, RequestState request);

    /// <summary>What a decode replica is judged by, smallest first.</summary>
    protected abstract double DecodeKey(ReplicaState replica, RequestState request);

    /// <summary>The replica with the smallest prefill key among those that qualify and can hold the prompt, the first of equals; -1 where none does.</summary>
    protected int BestPrefill(RequestState request, Func<ReplicaState, bool> qualifies)
    {
        int best = -1;
        double least = double.PositiveInfinity;
        for (int i = 0; i < Replicas.Count; i++)
        {
            ReplicaState replica = Replicas[i];
            if (qualifies(replica) && CanHoldPrompt(replica, request) && PrefillKey(replica, request) is var value && value < least)
            {
                (best, least) = (i, value);
            }
        }

        return best;
    }

    /// <summary>Whether the replica can hold what it would have to.</summary>
    protected static bool CanHoldPrompt(ReplicaState replica, RequestState request) => replica.Model.CanHold(KvMemory.RoundUp(
        replica.Model.Role == ReplicaRole.Mixed ? request.PromptTokens + request.OutputTokens : request.PrefillTokens));
}
