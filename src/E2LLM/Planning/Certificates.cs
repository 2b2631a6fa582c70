using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>Values with their bounds. Stateless.</summary>
internal static class Certificates
{
    /// <summary>
    /// The objective of a plan with a bound that follows from the bound on capacity: itself for capacity, goodput and objectives of the caller that are to be large (none serves more
    /// than the capacity); the same formula at that capacity for the bottleneck; the unavoidable overload for waiting. What is unknown is called unproved.
    /// </summary>
    public static PlanObjective Of(PlanningProblem problem, DeploymentPlan plan, double capacityBound)
    {
        IPlanObjective objective = problem.Options.Objective ?? PlanObjectives.Capacity;
        double value = objective.Evaluate(plan, problem.Cluster, problem.Model, problem.Workload);
        double period = problem.Workload.Arrivals.PeriodSeconds, bound = objective.Kind switch
        {
            "bottleneck" => Math.Max(0, (1 / capacityBound) - period),
            "waiting" => Math.Max(0, (1 / capacityBound) - period) * QueueingModel.HorizonRequestCount / 2,
            "capacity" or "goodput" => capacityBound,
            _ => objective.HigherIsBetter ? double.PositiveInfinity : 0,
        };
        bound = double.IsNaN(bound) ? (objective.HigherIsBetter ? double.PositiveInfinity : 0) : bound;
        if (objective.HigherIsBetter)
        {
            bound = Math.Max(bound, value);
        }
        else
        {
            bound = Math.Min(bound, value);
        }

        bool proved = objective.Kind is "capacity" or "bottleneck" or "waiting" or "goodput"
            && Math.Abs(bound - value) <= 1e-9 * Math.Max(Math.Abs(bound), Math.Abs(value));
        return new PlanObjective
        {
            Kind = objective.Kind,
            Value = value,
            Bound = bound,
            GapFraction = proved ? 0 : Gap(value, bound),
            Proved = proved,
        };
    }

    private static double Gap(double value, double bound)
    {
        if (!double.IsFinite(bound) || !double.IsFinite(value) || bound == 0)
        {
            return 1;
        }

        return Math.Abs(bound - value) / Math.Abs(bound);
    }
}
