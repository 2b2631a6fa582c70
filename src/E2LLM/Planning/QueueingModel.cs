using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>
/// Expected waiting and latency of a plan by closed-form queueing. Two pools in series: prefill replicas, then decode slots; each is a G/G/c queue by
/// Allen and Cunneen: <c>W = (ca^2 + cs^2) / 2 * C(c, rho) / (c mu - lambda)</c> with Erlang's C; the squared variations of service are those of the length
/// distributions. KV caches wait at a port as in G/G/1. An overloaded plan is judged over a finite number of requests, <see cref="HorizonRequestCount"/>:
/// <c>(n / 2)(1 / capacity - 1 / lambda)</c> is added. Approximations: they rank plans; a simulation measures them. Stateless; thread-safe.
/// </summary>
internal static class QueueingModel
{
    /// <summary>Requests over which an overload is judged.</summary>
    public const int HorizonRequestCount = 1000;

    /// <summary>What is expected of <paramref name="plan"/> at <paramref name="requestsPerSecond"/>.</summary>
    public static PlanPrediction Predict(DeploymentPlan plan, PlanEvaluator evaluator, Workload workload, double requestsPerSecond)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(evaluator);
        ArgumentNullException.ThrowIfNull(workload);
        Pools pools = Measure(plan, evaluator);
        double arrivals = workload.Arrivals.CoefficientOfVariation * workload.Arrivals.CoefficientOfVariation;
        double prefillWait = Wait(requestsPerSecond, pools.Prefill, pools.PrefillServers, arrivals, workload.PromptTokens.SquaredVariation);
        double decodeWait = Wait(requestsPerSecond, pools.Decode, pools.Slots, arrivals, workload.OutputTokens.SquaredVariation);
        double portRate = pools.KvSeconds > 0 ? pools.PrefillServers / pools.KvSeconds : double.PositiveInfinity;
        double portWait = double.IsPositiveInfinity(portRate)
            ? 0 : Wait(requestsPerSecond, portRate, pools.PrefillServers, arrivals, workload.PromptTokens.SquaredVariation);
        double capacity = Math.Min(pools.Prefill, pools.Decode);
        double overload = Math.Max(0, (1 / capacity) - (1 / requestsPerSecond)) * HorizonRequestCount / 2;
        double waiting = prefillWait + decodeWait + portWait + overload;
        double ttftOverload = pools.Prefill < requestsPerSecond ? ((1 / pools.Prefill) - (1 / requestsPerSecond)) * HorizonRequestCount / 2 : 0;
        return new PlanPrediction
        {
            WaitingSeconds = waiting,
            TtftSeconds = prefillWait + ttftOverload + pools.PrefillLatency,
            TpotSeconds = pools.Cycle,
            RequestsPerSecond = capacity,
        };
    }

    /// <summary>
    /// Largest rate at which the wanted share of requests meets both targets. Replicas whose step is longer than the TPOT target count for nothing; the wait
    /// for prefill is taken as exponential above its probability of waiting, and a prompt's own pass scales with its length. Bisection, as in DistServe (OSDI 2024).
    /// </summary>
    public static double Goodput(DeploymentPlan plan, PlanEvaluator evaluator, Workload workload)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(evaluator);
        ArgumentNullException.ThrowIfNull(workload);
        Pools pools = Measure(plan, evaluator);
        double limit = workload.Targets.TpotSeconds ?? double.PositiveInfinity, decode = 0;
        foreach (ReplicaPlan replica in plan.Replicas)
        {
            ReplicaRates rates = evaluator.Evaluate(replica);
            decode += rates.CycleSeconds <= limit ? evaluator.Shares(replica, rates).Decode : 0;
        }

        double high = Math.Min(pools.Prefill, decode), low = 0;
        if (workload.Targets.TtftSeconds is not { } target || high <= 0)
        {
            return Math.Max(0, high);
        }

        if (Attainment(0, target, pools, evaluator, workload) < workload.Targets.Attainment)
        {
            return 0;
        }

        for (int i = 0; i < 50; i++)
        {
            double middle = (low + high) / 2;
            if (Attainment(middle, target, pools, evaluator, workload) >= workload.Targets.Attainment)
            {
                low = middle;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    /// <summary>Erlang's C: the probability that an arrival finds all <paramref name="servers"/> busy at <paramref name="load"/> = lambda / mu (in servers), below <paramref name="servers"/>.</summary>
    public static double ErlangC(int servers, double load)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(servers, 1);
        if (!(load > 0))
        {
            return 0;
        }

        if (load >= servers)
        {
            return 1;
        }

        // Erlang's B by its recursion, then C = B / (1 - rho (1 - B)).
        double blocked = 1;
        for (int c = 1; c <= servers; c++)
        {
            blocked = load * blocked / (c + (load * blocked));
        }

        return blocked / (1 - (load / servers * (1 - blocked)));
    }

    private readonly record struct Pools(
        double Prefill, double Decode, int PrefillServers, int Slots, double PrefillLatency, double Cycle, double KvSeconds);

    private static Pools Measure(DeploymentPlan plan, PlanEvaluator evaluator)
    {
        double prefill = 0, decode = 0, latency = 0, cycle = 0, kv = 0;
        int servers = 0, slots = 0;
        foreach (ReplicaPlan replica in plan.Replicas)
        {
            ReplicaRates rates = evaluator.Evaluate(replica);
            (double p, double d) = evaluator.Shares(replica, rates);
            prefill += p;
            decode += d;
            latency += p * rates.PrefillLatencySeconds;
            cycle += d * rates.CycleSeconds;
            servers += p > 0 ? 1 : 0;
            slots += d > 0 ? replica.DecodeSlots : 0;
            kv += replica.Role == ReplicaRole.Prefill ? p * evaluator.KvSeconds(replica) : 0;
        }

        return new Pools(
            prefill, decode, Math.Max(1, servers), Math.Max(1, slots), prefill > 0 ? latency / prefill : 0, decode > 0 ? cycle / decode : 0,
            prefill > 0 ? kv / prefill : 0);
    }

    // Above this utilisation the steady state is not reached within the horizon; the overload term takes over.
    private static double Wait(double lambda, double rate, int servers, double arrivalVariation, double serviceVariation)
    {
        if (!(rate > 0))
        {
            return double.PositiveInfinity;
        }

        double most = 1 - (1 / Math.Sqrt(HorizonRequestCount)), utilisation = Math.Min(lambda / rate, most);
        double probability = ErlangC(servers, utilisation * servers);
        return (arrivalVariation + serviceVariation) / 2 * probability / (rate * (1 - utilisation));
    }

    private static double Attainment(double lambda, double target, Pools pools, PlanEvaluator evaluator, Workload workload)
    {
        double utilisation = lambda / pools.Prefill;
        if (utilisation >= 1)
        {
            return 0;
        }

        double arrivals = workload.Arrivals.CoefficientOfVariation * workload.Arrivals.CoefficientOfVariation;
        double variation = (arrivals + workload.PromptTokens.SquaredVariation) / 2;
        double waits = ErlangC(pools.PrefillServers, utilisation * pools.PrefillServers);
        double rate = variation > 0 ? pools.Prefill * (1 - utilisation) / variation : double.PositiveInfinity, met = 0;
        double[] prompts = evaluator.Work.Prompts;
        foreach (double prompt in prompts)
        {
            double room = target - (pools.PrefillLatency * prompt / evaluator.Work.PromptMean);
            met += room < 0 ? 0 : 1 - (waits * Math.Exp(-rate * room));
        }

        return met / prompts.Length;
    }
}
