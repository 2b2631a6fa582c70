using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>
/// What a plan is judged by. Implementations are stateless or thread-safe, and deterministic: the same plan has the same value.
/// </summary>
public interface IPlanObjective
{
    /// <summary>Name, written into plans.</summary>
    string Kind { get; }

    /// <summary>Whether larger values are better.</summary>
    bool HigherIsBetter { get; }

    /// <summary>Value of <paramref name="plan"/>. Infinite values are allowed: a wait that grows without end is positive infinity.</summary>
    double Evaluate(DeploymentPlan plan, Cluster cluster, ModelCost model, Workload workload);
}
