using E2LLM.Samples.Snippets;

// Runs the README's examples: each stands in a file of its own, and a test keeps the README equal to them.
switch (args)
{
    case ["generate", var modelPath]:
        await GenerateText.RunAsync(modelPath, Console.Out);
        return 0;
    case ["plan", var clusterPath, var modelPath, var workloadPath]:
        PlanCluster.Run(clusterPath, modelPath, workloadPath, Console.Out);
        return 0;
    case ["serve", var modelPath]:
        await ServePlan.RunAsync(modelPath, Console.Out);
        return 0;
    default:
        Console.Error.WriteLine("usage: Snippets generate MODEL.gguf | plan CLUSTER.json MODEL.json WORKLOAD.json | serve MODEL.gguf");
        return 2;
}
