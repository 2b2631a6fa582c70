using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>The objectives of this library. Stateless; thread-safe.</summary>
public static class PlanObjectives
{
    /// <summary>Largest sustained request rate: <c>min(sum of prefill rates, sum of decode rates)</c>. Higher is better.</summary>
    public static IPlanObjective Capacity { get; } = new CapacityObjective();

    /// <summary>
    /// The paper's bottleneck (arXiv 2606.03770, its Equation 4 as reconstructed): <c>max(0, max(T_P, T_D) - T_arrival)</c>, T being seconds per request of a phase over
    /// all its replicas. The minimum decode speed is a constraint on every replica. Lower is better.
    /// </summary>
    public static IPlanObjective Bottleneck { get; } = new BottleneckObjective();

    /// <summary>Expected waiting time with the length distributions; see <see cref="QueueingModel"/>. Lower is better.</summary>
    public static IPlanObjective Waiting { get; } = new WaitingObjective();

    /// <summary>Largest request rate at which the wanted share of requests meets TTFT and TPOT targets; capacity where there are none. Higher is better.</summary>
    public static IPlanObjective Goodput { get; } = new GoodputObjective();

    /// <summary>The objective called <paramref name="kind"/> (<c>capacity</c>, <c>bottleneck</c>, <c>waiting</c>, <c>goodput</c>), or null.</summary>
    public static IPlanObjective? Find(string kind) => kind switch
    {
        "capacity" => Capacity,
        "bottleneck" => Bottleneck,
        "waiting" => Waiting,
        "goodput" => Goodput,
        _ => null,
    };

    /// <summary>
    /// <paramref name="inner"/> with a price on hops and on weights that must be moved: for an objective that is to be large,
    /// <c>value * (1 - perHop * mean extra stages) - perByte * bytes</c>; for one that is to be small the prices are added alike.
    /// </summary>
    /// <param name="inner">The objective itself.</param>
    /// <param name="perHop">Relative price of one more stage in a replica, for example 0.01.</param>
    /// <param name="perMovedByte">Absolute price of a byte that a device must load and does not hold in <paramref name="current"/>.</param>
    /// <param name="current">The plan that runs now; null: everything must be loaded.</param>
    public static IPlanObjective WithCosts(IPlanObjective inner, double perHop, double perMovedByte = 0, DeploymentPlan? current = null)
    {
        ArgumentNullException.ThrowIfNull(inner);
        return new PricedObjective(inner, perHop, perMovedByte, current);
    }

    private sealed class CapacityObjective : IPlanObjective
    {
        public string Kind => "capacity";

        public bool HigherIsBetter => true;

        public double Evaluate(DeploymentPlan plan, Cluster cluster, ModelCost model, Workload workload) =>
            plan.Predicted.RequestsPerSecond > 0 ? plan.Predicted.RequestsPerSecond : new PlanEvaluator(cluster, model, workload).Capacity(plan);
    }

    private sealed class BottleneckObjective : IPlanObjective
    {
        public string Kind => "bottleneck";

        public bool HigherIsBetter => false;

        public double Evaluate(DeploymentPlan plan, Cluster cluster, ModelCost model, Workload workload)
        {
            double capacity = Capacity.Evaluate(plan, cluster, model, workload);
            return Math.Max(0, (1 / capacity) - workload.Arrivals.PeriodSeconds);
        }
    }

    private sealed class WaitingObjective : IPlanObjective
    {
        public string Kind => "waiting";

        public bool HigherIsBetter => false;

        public double Evaluate(DeploymentPlan plan, Cluster cluster, ModelCost model, Workload workload) =>
            QueueingModel.Predict(plan, new PlanEvaluator(cluster, model, workload), workload, workload.Arrivals.RequestsPerSecond).WaitingSeconds;
    }

    private sealed class GoodputObjective : IPlanObjective
    {
        public string Kind => "goodput";

        public bool HigherIsBetter => true;

        public double Evaluate(DeploymentPlan plan, Cluster cluster, ModelCost model, Workload workload) =>
            QueueingModel.Goodput(plan, new PlanEvaluator(cluster, model, workload), workload);
    }

    private sealed class PricedObjective(IPlanObjective inner, double perHop, double perMovedByte, DeploymentPlan? current) : IPlanObjective
    {
        public string Kind => $"{inner.Kind}+costs";

        public bool HigherIsBetter => inner.HigherIsBetter;

        public double Evaluate(DeploymentPlan plan, Cluster cluster, ModelCost model, Workload workload)
        {
            double value = inner.Evaluate(plan, cluster, model, workload), hops = 0;
            foreach (ReplicaPlan replica in plan.Replicas)
            {
                hops += (double)(replica.Stages.Count - 1) / plan.Replicas.Count;
            }

            double moved = perMovedByte == 0 ? 0 : perMovedByte * PlanDifference.MovedBytes(current, plan, model);
            return inner.HigherIsBetter ? (value * (1 - (perHop * hops))) - moved : (value * (1 + (perHop * hops))) + moved;
        }
    }
}
