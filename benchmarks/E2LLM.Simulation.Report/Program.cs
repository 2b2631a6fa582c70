using System.Diagnostics;
using E2LLM.Costs;
using E2LLM.Simulation;
using E2LLM.Simulation.Report;

Cluster cluster = Cluster.Parse(File.ReadAllText("/work/shared/data/paper-testbed.json"));
foreach (var (name, prompt, output) in PaperSetting.Lengths)
{
    foreach (double period in args.Contains("u") ? (name == "extended" ? [0.42, 0.45, 0.5, 0.55] : [0.93, 1, 1.1, 1.2]) : PaperSetting.Periods)
    {
        long t0 = Stopwatch.GetTimestamp();
        SimulatedRequest[] requests = PaperSetting.Requests(prompt, output, period, 150);
        var systems = new Systems(cluster, PaperSetting.Model, PaperSetting.Workload(prompt, output, period), requests, args.Length > 1 ? int.Parse(args[1]) : 120);
        Console.WriteLine($"== {name} T={period}");
        foreach (SystemUnderTest s in systems.All().Where(s => s.Name is Systems.E2llm or Systems.B2 or Systems.Ours))
        {
            ServingReport r = systems.Measure(s, requests);
            Console.WriteLine($"{s.Name,-34} wait {r.WaitingSeconds.Mean,8:F2} e2e {r.EndToEndSeconds.Mean,8:F2} serv {r.MeanServiceSeconds,7:F2} ttft {r.TtftSeconds.Mean,6:F2} tpot {r.TpotSeconds.Mean:F4} rps {r.RequestsPerSecond:F2} cap {s.Plan.Predicted.RequestsPerSecond:F2} {r.Router} {Describe.Plan(s.Plan)}");
        }
        Console.WriteLine($"   {Stopwatch.GetElapsedTime(t0).TotalSeconds:F1} s");
    }
}
