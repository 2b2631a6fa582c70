// How long would users wait? A plan under more and more load, event by event, before any device is bought or a byte of weights is moved.
// usage: SimulateServing [CLUSTER.json MODEL.json WORKLOAD.json]
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning;
using E2LLM.Simulation;

string[] files = args.Length == 3 ? args : [Beside("cluster.json"), Beside("model.json"), Beside("workload.json")];
Cluster cluster = Cluster.Load(files[0]);
ModelCost model = ModelCost.Load(files[1]);
Workload workload = Workload.Load(files[2]);
DeploymentPlan plan = DeploymentPlanner.Plan(cluster, model, workload).Plan ?? throw new InvalidOperationException("no plan fits");

double capacity = new PlanEvaluator(cluster, model, workload).Capacity(plan);
Console.WriteLine($"The plan carries {capacity:F3} requests/s at most. Under Poisson arrivals, 2,000 requests each:");

// Waiting is what the load adds to a request's time: the time that it takes minus the time that it would take alone.
Console.WriteLine("   load  requests/s    waiting mean, P99 [s]   first token P50, P99 [s]   per token [s]");
foreach (double load in new[] { 0.3, 0.5, 0.7, 0.8, 0.9 })
{
    Workload loaded = workload with { Arrivals = ArrivalProcess.Poisson(load * capacity) };
    ServingReport report = ClusterSimulator.Run(plan, cluster, model, loaded, requestCount: 2000);
    Console.WriteLine(
        $"{load,7:P0}{report.RequestsPerSecond,12:F3}{report.WaitingSeconds.Mean,14:F1}{report.WaitingSeconds.P99,11:F1}"
        + $"{report.TtftSeconds.P50,15:F1}{report.TtftSeconds.P99,12:F1}{report.TpotSeconds.Mean,16:F3}");
}

static string Beside(string name) => Path.Combine(AppContext.BaseDirectory, name);
