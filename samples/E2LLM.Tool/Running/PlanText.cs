using System.Globalization;
using E2LLM.Deployment;

namespace E2LLM.Tool.Running;

/// <summary>A plan for people.</summary>
internal static class PlanText
{
    public static void Write(TextWriter output, DeploymentPlan plan)
    {
        output.WriteLine($"{plan.ModelName}: {plan.Replicas.Count} replicas by the {plan.Planner} planner, seed {plan.Seed}");
        foreach (ReplicaPlan replica in plan.Replicas)
        {
            string speeds = string.Join(", ", new[]
            {
                replica.PrefillTokensPerSecond > 0 ? $"prefill {Number(replica.PrefillTokensPerSecond)} tokens/s" : "",
                replica.DecodeTokensPerSecond > 0 ? $"decode {Number(replica.DecodeTokensPerSecond)} tokens/s in {replica.DecodeSlots} slots" : "",
            }.Where(text => text.Length > 0));
            output.WriteLine($"  {replica.Name}  {replica.Role.ToString().ToLowerInvariant()}  {speeds}");
            foreach (StagePlan stage in replica.Stages)
            {
                string parts = (stage.Embedding ? " + embedding" : "") + (stage.Head ? " + head" : "");
                output.WriteLine($"    {stage.Device,-16} layers {stage.Layers}{parts}, {stage.MemoryBytes / 1e6:F1} MB");
            }

            output.WriteLine($"    slowest: {replica.Bottleneck.Kind} {replica.Bottleneck.At}, {Number(replica.Bottleneck.Seconds * 1e3)} ms");
        }

        if (plan.UnusedDevices.Count > 0)
        {
            output.WriteLine($"  unused: {string.Join(", ", plan.UnusedDevices)}");
        }

        PlanPrediction predicted = plan.Predicted;
        output.WriteLine(
            $"  predicted: {Number(predicted.RequestsPerSecond)} requests/s, waiting {Number(predicted.WaitingSeconds)} s, "
            + $"TTFT {Number(predicted.TtftSeconds)} s, TPOT {Number(predicted.TpotSeconds)} s");
        foreach (string line in plan.Explanation)
        {
            output.WriteLine($"  {line}");
        }
    }

    private static string Number(double value) => value.ToString("G4", CultureInfo.InvariantCulture);
}
