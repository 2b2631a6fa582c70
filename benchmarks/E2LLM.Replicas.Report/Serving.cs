using System.Diagnostics;
using E2LLM.Deployment;

namespace E2LLM.Replicas.Report;

/// <summary>Requests served by one set of replicas, with the moment of every token.</summary>
internal static class Serving
{
    /// <summary>Connects to replicas and serves some prompts at once.</summary>
    /// <returns>For every prompt the seconds from the start to each of its tokens.</returns>
    public static async Task<double[][]> RunAsync(Dispatcher dispatcher, int[][] prompts, int tokenCount)
    {
        long start = Stopwatch.GetTimestamp();
        return await Task.WhenAll(prompts.Select(async prompt =>
        {
            var times = new List<double>();
            await foreach (int _ in dispatcher.Serve(new ServingRequest { PromptIds = prompt, MaxTokenCount = tokenCount }))
            {
                times.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
            }

            return times.ToArray();
        }));
    }

    public static Task<Dispatcher> ConnectAsync(StageProcess fleet, ModelIdentity model, int chunkTokens, params ReplicaPlan[] replicas) => Dispatcher.ConnectAsync(
        new DeploymentPlan { Planner = "report", ModelName = "report", Objective = new PlanObjective { Kind = "capacity" }, Replicas = replicas },
        model, fleet.ConnectAsync, new ReplicaOptions { ChunkTokenCount = chunkTokens, Connections = StageProcess.Connections }, new DispatcherOptions { NextTurnTokenCount = 0 });

    /// <summary>Prompts that never came before, so that nothing is found of them anywhere.</summary>
    public static int[][] Prompts(int count, int length, int seed, int vocabulary)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => Enumerable.Range(0, length).Select(_ => random.Next(vocabulary)).ToArray())];
    }

    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length % 2 == 1 ? sorted[sorted.Length / 2] : (sorted[(sorted.Length / 2) - 1] + sorted[sorted.Length / 2]) / 2;
    }
}
