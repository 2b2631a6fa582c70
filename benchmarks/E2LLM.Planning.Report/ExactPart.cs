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

    public static void Fuzz(StringBuilder text, int first, int count)
    {
        int plans = 0, reasons = 0, refused = 0, over = 0, escaped = 0, unequal = 0, renamed = 0;
        Parallel.For(0, count, i =>
        {
            ulong seed = 1_000_001 + (ulong)(first + i);
            (Cluster cluster, ModelCost model, Workload workload, PlannerOptions options) = SenselessInstances.Create(seed);
            try
            {
                PlanningResult result = DeploymentPlanner.Plan(cluster, model, workload, options);
                Cluster permuted = SenselessInstances.Permuted(cluster, seed);
                PlanningResult? other = seed % 4 == 1 ? DeploymentPlanner.Plan(permuted, model, workload, options) : null;
                if (!result.IsFeasible)
                {
                    Interlocked.Increment(ref reasons);
                    Count(ref renamed, seed, other is not null && other.Infeasible?.Constraint != result.Infeasible.Constraint, "permuted");
                    return;
                }

                Interlocked.Increment(ref plans);
                Count(ref over, seed, PlanValidator.Validate(result.Plan, cluster, model, workload, options).Count > 0, "not valid");
                Count(ref unequal, seed, seed % 4 == 0 && DeploymentPlanner.Plan(cluster, model, workload, options).Plan!.ToJson() != result.Plan.ToJson(), "not the same again");
                Count(ref renamed, seed, other is not null && (!other.IsFeasible || SenselessInstances.WithoutNames(result.Plan, cluster) != SenselessInstances.WithoutNames(other.Plan, permuted)), "permuted");
            }
            catch (ArgumentException) when (IsRefused(options))
            {
                Interlocked.Increment(ref refused);
            }
#pragma warning disable CA1031 // Whatever escapes is the finding.
            catch (Exception error)
#pragma warning restore CA1031
            {
                Interlocked.Increment(ref escaped);
                Console.Error.WriteLine($"seed {seed}: {error}");
            }
        });

        text.AppendLine("## 7. Senseless input\n");
        text.AppendLine($"{count:N0} random inputs of 0 to 70 devices (zero, negative, NaN and infinite figures, missing links, duplicate names, huge and empty memories, broken models and measured profiles, contradictory targets, options");
        text.AppendLine($"out of range; all planners and objectives): {plans:N0} plans, {reasons:N0} reasons, {refused:N0} refused with a typed argument error, **{escaped} other exceptions, {over} plans that the validator rejects** (memory, order, links,");
        text.AppendLine($"phases). Of every fourth, {unequal} differ when made again with the same seed; of another fourth, {renamed} differ in more than names when the devices are permuted.");
    }

    private static void Count(ref int counter, ulong seed, bool differs, string how)
    {
        if (differs)
        {
            Interlocked.Increment(ref counter);
            Console.Error.WriteLine($"seed {seed}: {how}");
        }
    }

    private static bool IsRefused(PlannerOptions options)
    {
        try
        {
            options.Validate();
            return false;
        }
        catch (ArgumentException)
        {
            return true;
        }
    }
}
