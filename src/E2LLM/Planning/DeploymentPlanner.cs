using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning.Clustering;

namespace E2LLM.Planning;

/// <summary>
/// Makes deployment plans: which devices form a replica, which layers each holds, which phase a replica serves, how many sequences decode at once.
/// Pure and seeded: the same input gives the same plan (unless a time budget cuts it). Thread-safe; holds no state.
/// </summary>
public static class DeploymentPlanner
{
    /// <summary>Plans. Senseless input gives an <see cref="Infeasible"/> with constraint <c>input</c>, not an exception.</summary>
    /// <param name="cluster">Devices and links.</param>
    /// <param name="model">What the model costs.</param>
    /// <param name="workload">What is to be served.</param>
    /// <param name="options">Settings; null: the defaults.</param>
    /// <param name="progress">Told how far the search is.</param>
    /// <param name="cancellationToken">Ends the search with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="ArgumentNullException">An argument is null.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An option is outside its range.</exception>
    public static PlanningResult Plan(
        Cluster cluster, ModelCost model, Workload workload, PlannerOptions? options = null,
        IProgress<PlanningProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(cluster);
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(workload);
        options ??= new PlannerOptions();
        options.Validate();
        try
        {
            return Feasibility.OfInput(cluster, model, workload) is { } wrong
                ? PlanningResult.None(wrong)
                : PlanningRun.Run(cluster, model, workload, options, progress, cancellationToken);
        }
        catch (OverflowException)
        {
            // Sizes are multiplied in checked arithmetic: what has no number of bytes fits nowhere.
            return PlanningResult.None(new Infeasible
            {
                Constraint = "memory",
                At = "cluster",
                NeedBytes = long.MaxValue,
                Message = "The sizes of the model, the workload or the devices are beyond what can be counted.",
            });
        }
    }
}
