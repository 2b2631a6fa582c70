using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>
/// Chooses a plan for speeds that are known only within an error: candidates are the plan for the stated speeds and the best plans for some drawn speeds; the one whose worst
/// capacity over a fixed set of draws (the slow corner among them) is largest is taken, so it is never worse there than the plan for the stated speeds. Seeded. Stateless.
/// </summary>
internal static class RobustSearch
{
    private const int CandidateCount = 12;
    private const int DrawCount = 64;

    /// <summary>The chosen plan with predictions for the stated speeds.</summary>
    public static DeploymentPlan Choose(
        PlanningProblem problem, DeploymentPlan nominal, Func<Cluster, DeploymentPlan?> plan, IProgress<PlanningProgress>? progress, CancellationToken cancellation)
    {
        double error = problem.Options.SpeedErrorFraction;
        var draws = new PlanEvaluator[DrawCount];
        for (int i = 0; i < DrawCount; i++)
        {
            draws[i] = Evaluator(problem, Perturb(problem.Cluster, error, problem.Options.Seed + (ulong)i));
        }

        var candidates = new List<DeploymentPlan> { nominal };
        for (int i = 0; i < CandidateCount; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            progress?.Report(new PlanningProgress("robust candidates", (double)i / CandidateCount, nominal.Predicted.RequestsPerSecond, double.PositiveInfinity));
            if (plan(Perturb(problem.Cluster, error, problem.Options.Seed + 1000 + (ulong)i)) is { } candidate)
            {
                candidates.Add(candidate);
            }
        }

        var assembler = new PlanAssembler(problem);
        DeploymentPlan best = nominal;
        double bestScore = double.NegativeInfinity;
        foreach (DeploymentPlan candidate in candidates)
        {
            double worst = double.PositiveInfinity, sum = 0;
            foreach (PlanEvaluator draw in draws)
            {
                double capacity = draw.Capacity(candidate);
                worst = Math.Min(worst, capacity);
                sum += capacity;
            }

            // The worst case decides; the mean only between equals.
            double score = worst + (1e-9 * sum / DrawCount);
            if (score > bestScore)
            {
                (best, bestScore) = (candidate, score);
            }
        }

        return ReferenceEquals(best, nominal) ? nominal : assembler.Assemble(Drafts(best, problem), best.Planner);
    }

    /// <summary>Every compute speed, memory speed and measured time multiplied by an independent factor from 1 - error to 1 + error.</summary>
    public static Cluster Perturb(Cluster cluster, double error, ulong seed)
    {
        var random = new SplitMix(seed);
        double Factor() => 1 + (error * ((2 * random.NextDouble()) - 1));
        return cluster with
        {
            Devices = [.. cluster.Devices.Select(device =>
            {
                double compute = Factor(), memory = Factor();
                return device with
                {
                    ComputeFlopsPerSecond = device.ComputeFlopsPerSecond * compute,
                    MemoryBytesPerSecond = device.MemoryBytesPerSecond * memory,
                    Profile = device.Profile is { } profile ? Scaled(profile, 1 / compute, 1 / memory) : null,
                };
            })],
        };
    }

    private static MeasuredProfile Scaled(MeasuredProfile profile, double prefill, double decode) => profile with
    {
        Prefill = [.. profile.Prefill.Select(point => point with { SecondsPerLayer = point.SecondsPerLayer * prefill })],
        Decode = [.. profile.Decode.Select(point => point with { SecondsPerLayer = point.SecondsPerLayer * decode })],
        HeadSeconds = profile.HeadSeconds * decode,
        EmbeddingSeconds = profile.EmbeddingSeconds * decode,
    };

    private static PlanEvaluator Evaluator(PlanningProblem problem, Cluster cluster) => new(cluster, problem.Model, problem.Workload, problem.Options);

    private static List<ReplicaDraft> Drafts(DeploymentPlan plan, PlanningProblem problem) => [.. plan.Replicas.Select(replica => new ReplicaDraft(
        replica.Role, replica.DecodeSlots, replica.PrefillShare,
        [.. replica.Stages.Select(stage => problem.Cluster.IndexOf(stage.Device))], [.. replica.Stages.Select(stage => stage.Layers.Count)]))];
}
