using System.Text;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Tests.Planning;

namespace E2LLM.Planning.Report;

/// <summary>Speeds that are not what was stated.</summary>
internal static class RobustPart
{
    private const int Instances = 12;
    private const int Draws = 200;

    public static void Write(StringBuilder text)
    {
        double robustMean = 0, nominalMean = 0, robustLeast = 1, worstRatio = double.PositiveInfinity;
        int instances = 0, reached = 0;
        var options = new PlannerOptions { AllowMixed = false, ExplainMemory = false };
        for (ulong seed = 1; seed <= Instances; seed++)
        {
            var random = new RandomInstances(seed + 700);
            Cluster cluster = random.Cluster(7, 0.6);
            ModelCost model = random.Model(24);
            Workload workload = random.Workload();
            DeploymentPlan? nominal = DeploymentPlanner.Plan(cluster, model, workload, options).Plan;
            if (nominal is null)
            {
                continue;
            }

            DeploymentPlan robust = DeploymentPlanner.Plan(cluster, model, workload, options with { SpeedErrorFraction = 0.3 }).Plan!;
            double sum = 0, nominalSum = 0;
            var corner = new PlanEvaluator(RobustSearch.Slowest(cluster, 0.3), model, workload, options);
            double worst = corner.Capacity(robust), nominalWorst = corner.Capacity(nominal);
            for (ulong draw = 0; draw < Draws; draw++)
            {
                // Not the draws that the robust search itself looked at.
                Cluster real = RobustSearch.Perturb(cluster, 0.3, 1_000_000 + draw);
                var evaluator = new PlanEvaluator(real, model, workload, options);
                double best = DeploymentPlanner.Plan(real, model, workload, options).Plan!.Predicted.RequestsPerSecond;
                double value = evaluator.Capacity(robust), nominalValue = evaluator.Capacity(nominal);
                sum += value / best / Draws;
                nominalSum += nominalValue / best / Draws;
            }

            instances++;
            reached += sum >= 0.9 ? 1 : 0;
            robustMean += sum;
            nominalMean += nominalSum;
            robustLeast = Math.Min(robustLeast, sum);
            worstRatio = Math.Min(worstRatio, worst / nominalWorst);
        }

        text.AppendLine("## 6. Uncertain speeds\n");
        text.AppendLine($"{instances} instances of 7 devices, {Draws} draws of independent errors of up to 30 % on every compute and memory speed, each compared with the best plan for the drawn speeds. Draws are");
        text.AppendLine($"other than those the search saw. Capacity kept: robust plan {robustMean / instances * 100:F1} % in the mean, {robustLeast * 100:F1} % for the worst instance, 90 % or more in {reached} of {instances} instances (goal 90 %); plan for the stated speeds {nominalMean / instances * 100:F1} %.");
        text.AppendLine($"Worst case (capacity falls with every speed, so it is the corner in which all are 30 % slow) of the robust plan over that of the nominal one: {worstRatio:F3} at least.");
    }
}
