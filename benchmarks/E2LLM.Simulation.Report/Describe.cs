using System.Globalization;
using E2LLM.Deployment;

namespace E2LLM.Simulation.Report;

/// <summary>Plans and figures in few words. Stateless.</summary>
internal static class Describe
{
    /// <summary>For example <c>P[orin-agx 24] D48[m2max-a 24] M64[rtx5070 18, rtx3060m 6]</c>: role, slots, devices with their layers.</summary>
    public static string Plan(DeploymentPlan plan) => string.Join(" ", plan.Replicas.Select(r =>
        $"{r.Role.ToString()[0]}{(r.DecodeSlots > 0 ? r.DecodeSlots.ToString(CultureInfo.InvariantCulture) : "")}[{string.Join(", ", r.Stages.Select(s => $"{s.Device} {s.Layers.Count}"))}]"));

    public static string Number(double value, string format = "F2") => double.IsFinite(value) ? value.ToString(format, CultureInfo.InvariantCulture) : "-";

    public static string WithInterval(E2LLM.Simulation.Metrics.SampleSummary s) => $"{Number(s.Mean)} ({Number(s.Ci95Low)} to {Number(s.Ci95High)})";
}
