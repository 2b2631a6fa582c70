using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Simulation.Workloads;

namespace E2LLM.Simulation;

/// <summary>What a simulated objective measures.</summary>
public enum SimulatedMetric
{
    /// <summary>Mean waiting time; smaller is better.</summary>
    MeanWaiting,

    /// <summary>99th percentile of waiting time; smaller is better.</summary>
    P99Waiting,

    /// <summary>Mean end-to-end time; smaller is better.</summary>
    MeanEndToEnd,

    /// <summary>Requests per second that meet the workload's targets; larger is better.</summary>
    Goodput,
}

/// <summary>
/// Judges a plan by simulating it. All plans meet the same requests (common random numbers), so small differences between plans are differences
/// of the plans. A plan that cannot run is infinitely bad. Immutable; thread-safe.
/// </summary>
public sealed class SimulatedObjective : IPlanObjective
{
    private readonly SimulatedMetric _metric;
    private readonly int _requestCount;
    private readonly SimulationOptions _options;

    /// <summary>Creates the objective.</summary>
    /// <param name="metric">What is measured.</param>
    /// <param name="requestCount">Requests of each simulation. Default 1,000.</param>
    /// <param name="options">Policies and seed; null for the defaults.</param>
    public SimulatedObjective(SimulatedMetric metric = SimulatedMetric.MeanWaiting, int requestCount = 1000, SimulationOptions? options = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(requestCount);
        _metric = metric;
        _requestCount = requestCount;
        _options = (options ?? new SimulationOptions()) with { BootstrapCount = 0, Oversized = OversizedRequests.Drop };
        _options.Validate();
    }

    /// <inheritdoc/>
    public string Kind => _metric switch
    {
        SimulatedMetric.MeanWaiting => "simulated-waiting",
        SimulatedMetric.P99Waiting => "simulated-p99-waiting",
        SimulatedMetric.MeanEndToEnd => "simulated-end-to-end",
        _ => "simulated-goodput",
    };

    /// <inheritdoc/>
    public bool HigherIsBetter => _metric == SimulatedMetric.Goodput;

    /// <inheritdoc/>
    public double Evaluate(DeploymentPlan plan, Cluster cluster, ModelCost model, Workload workload)
    {
        ArgumentNullException.ThrowIfNull(workload);
        double worst = HigherIsBetter ? 0 : double.PositiveInfinity;
        try
        {
            IReadOnlyList<SimulatedRequest> requests = RequestGenerator.Generate(workload, _requestCount, _options.Seed);
            ServingReport report = ClusterSimulator.Run(plan, cluster, model, requests, _options, workload.Targets);

            // What a plan cannot hold it does not serve: no request lost is cheaper than one served late.
            return report.DroppedCount > 0 ? worst : _metric switch
            {
                SimulatedMetric.MeanWaiting => report.WaitingSeconds.Mean,
                SimulatedMetric.P99Waiting => report.WaitingSeconds.P99,
                SimulatedMetric.MeanEndToEnd => report.EndToEndSeconds.Mean,
                _ => report.GoodputRequestsPerSecond,
            };
        }
        catch (ArgumentException)
        {
            return worst;
        }
    }
}
