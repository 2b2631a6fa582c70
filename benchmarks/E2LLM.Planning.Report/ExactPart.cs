using System.Text;
using E2LLM.Costs;
using E2LLM.Tests.Planning;

namespace E2LLM.Planning.Report;

/// <summary>Against full enumeration, and against senseless input.</summary>
internal static class ExactPart
{
    public static void Enumeration(StringBuilder text)
    {
        const int instances = 1000;
        int equal = 0, infeasible = 0, mismatches = 0;
        long ordered = 0;
        var sizes = new int[8];
        var options = new PlannerOptions { AllowMixed = false, MaxDecodeSlots = 4 };
        for (ulong seed = 1; seed <= instances; seed++)
        {
            var random = new RandomInstances(seed);
            int devices = seed % 20 == 0 ? 7 : seed % 5 == 0 ? 6 : 2 + random.Next(4);
            sizes[devices]++;
            Cluster cluster = random.Cluster(devices, 0.4);
            ModelCost model = random.Model(3 + random.Next(4));
            Workload workload = random.Workload();
            var brute = new BruteForce(cluster, model, workload, options);
            ordered += brute.Ordered;
            double expected = brute.Capacity(), value = DeploymentPlanner.Plan(cluster, model, workload, options).Plan?.Predicted.RequestsPerSecond ?? 0;
            infeasible += expected == 0 && value == 0 ? 1 : 0;
            equal += Math.Abs(value - expected) <= 1e-9 * expected ? 1 : 0;
            mismatches += Math.Abs(value - expected) <= 1e-9 * expected ? 0 : 1;
        }

        text.AppendLine("## 1. Against full enumeration\n");
        text.AppendLine($"{instances} random instances of 2 to 7 devices ({string.Join(", ", Enumerable.Range(2, 6).Select(n => $"{sizes[n]} of {n}"))}), models of 3 to 6 layers, up to 4 decode slots: every set");
        text.AppendLine($"partition with idle devices x order x split x role x concurrency, {ordered:N0} ordered pipelines in all, each judged by `PlanEvaluator`, which shares no code with the search.");
        text.AppendLine($"**{equal} equal to 1e-9 ({infeasible} of them infeasible both ways), {mismatches} mismatches.**");
    }

    public static void Fuzz(StringBuilder text, int count)
    {
        int plans = 0, reasons = 0, over = 0, escaped = 0, unequal = 0;
        for (ulong seed = 1_000_001; seed < 1_000_001 + (ulong)count; seed++)
        {
            try
            {
                (Cluster cluster, ModelCost model, Workload workload, PlannerOptions options) = SenselessInstances.Create(seed);
                PlanningResult result = DeploymentPlanner.Plan(cluster, model, workload, options);
                if (!result.IsFeasible)
                {
                    reasons++;
                    continue;
                }

                plans++;
                over += PlanValidator.Validate(result.Plan, cluster, model, workload, options).Count > 0 ? 1 : 0;
                unequal += seed % 10 == 0 && DeploymentPlanner.Plan(cluster, model, workload, options).Plan!.ToJson() != result.Plan.ToJson() ? 1 : 0;
            }
#pragma warning disable CA1031 // Whatever escapes is the finding.
            catch (Exception error)
#pragma warning restore CA1031
            {
                escaped++;
                Console.Error.WriteLine($"seed {seed}: {error.Message}");
            }
        }

        text.AppendLine("## 7. Senseless input\n");
        text.AppendLine($"{count:N0} random inputs (zero, negative, NaN and infinite figures, missing links, duplicate names, huge and empty memories, contradictory targets; all planners and");
        text.AppendLine($"objectives): {plans:N0} plans, {reasons:N0} reasons, {escaped} exceptions, {over} plans that the validator rejects, {unequal} of every tenth that differ when made again.");
    }
}
