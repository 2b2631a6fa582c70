using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>
/// Chooses a plan for speeds that are known only within an error. A plan's capacity falls with every speed, so its worst case is exactly the corner in which every device is slow.
/// Candidates are the plan for the stated speeds and the best plans for some drawn speeds; of those whose worst case is no worse than the first's, the one with the
/// largest mean share of the best candidate over a fixed set of draws is taken. A device whose measured profile states a larger error gets that. Seeded. Stateless.
/// </summary>
internal static class RobustSearch
{
    private const int CandidateCount = 20;
    private const int DrawCount = 128;

    /// <summary>The chosen plan with predictions for the stated speeds.</summary>
    public static DeploymentPlan Choose(
        PlanningProblem problem, DeploymentPlan nominal, Func<Cluster, DeploymentPlan?> plan, IProgress<PlanningProgress>? progress, CancellationToken cancellation)
    {
        double error = problem.Options.SpeedErrorFraction;
        var draws = new PlanEvaluator[DrawCount];
        for (int i = 0; i < DrawCount; i++)
        {
            draws[i] = Evaluator(problem, Perturb(problem.Cluster, error, problem.Options.Seed + (ulong)i, problem.Devices));
        }

        var candidates = new List<DeploymentPlan> { nominal };
        for (int i = 0; i < CandidateCount; i++)
        {
            cancellation.ThrowIfCancellationRequested();
            progress?.Report(new PlanningProgress("robust candidates", (double)i / CandidateCount, nominal.Predicted.RequestsPerSecond, double.PositiveInfinity));
            if (plan(Perturb(problem.Cluster, error, problem.Options.Seed + 1000 + (ulong)i, problem.Devices)) is { } candidate)
            {
                candidates.Add(candidate);
            }
        }

        var assembler = new PlanAssembler(problem);
        PlanEvaluator corner = Evaluator(problem, Slowest(problem.Cluster, error));
        double least = corner.Capacity(nominal) * (1 - 1e-12);
        candidates.RemoveAll(candidate => corner.Capacity(candidate) < least || (!ReferenceEquals(candidate, nominal) && candidate.Replicas.Any(
            replica => assembler.Evaluator.Evaluate(replica).CycleSeconds > problem.Work.MaxCycleSeconds)));
        var shares = new double[candidates.Count];
        foreach (PlanEvaluator draw in draws)
        {
            double[] capacities = [.. candidates.Select(draw.Capacity)];
            double most = capacities.Max();
            for (int i = 0; i < shares.Length; i++)
            {
                shares[i] += capacities[i] / most;
            }
        }

        DeploymentPlan best = candidates[Array.IndexOf(shares, shares.Max())];
        return ReferenceEquals(best, nominal) ? nominal : assembler.Assemble(Drafts(best, problem), best.Planner);
    }

    /// <summary>Every device slower by the whole error.</summary>
    public static Cluster Slowest(Cluster cluster, double error) => cluster with
    {
        Devices = [.. cluster.Devices.Select(device =>
        {
            double speed = 1 - Error(device, error);
            return device with
            {
                ComputeFlopsPerSecond = device.ComputeFlopsPerSecond * speed,
                MemoryBytesPerSecond = device.MemoryBytesPerSecond * speed,
                Profile = device.Profile is { } profile ? Scaled(profile, 1 / speed, 1 / speed) : null,
            };
        })],
    };

    private static double Error(DeviceProfile device, double error) => Math.Max(error, device.Profile?.ErrorFraction ?? 0);

    /// <summary>
    /// Every compute speed, memory speed and measured time multiplied by an independent factor from 1 - error to 1 + error, drawn for the devices in <paramref name="order"/> (null: as they are listed), so that a
    /// canonical order makes the draws independent of the list's.
    /// </summary>
    public static Cluster Perturb(Cluster cluster, double error, ulong seed, IReadOnlyList<int>? order = null)
    {
        var random = new SplitMix(seed);
        var devices = new DeviceProfile[cluster.Devices.Count];
        for (int i = 0; i < devices.Length; i++)
        {
            int index = order is null ? i : order[i];
            DeviceProfile device = cluster.Devices[index];
            double compute = Factor(device), memory = Factor(device);
            devices[index] = device with
            {
                ComputeFlopsPerSecond = device.ComputeFlopsPerSecond * compute,
                MemoryBytesPerSecond = device.MemoryBytesPerSecond * memory,
                Profile = device.Profile is { } profile ? Scaled(profile, 1 / compute, 1 / memory) : null,
            };
        }

        return cluster with { Devices = devices };

        double Factor(DeviceProfile device) => 1 + (Error(device, error) * ((2 * random.NextDouble()) - 1));
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
