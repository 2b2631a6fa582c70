using System.Globalization;
using E2LLM.Costs;
using E2LLM.Deployment;
using E2LLM.Planning.Clustering;
using E2LLM.Planning.Partitioning;

namespace E2LLM.Planning;

/// <summary>
/// What more memory on one device would be worth: the few fastest devices that are full get a quarter more, or room for one layer more where that is larger, one at a time, and the cluster is
/// planned again. Bounded by counts, never by a clock, so that the same input gives the same words. Stateless.
/// </summary>
internal static class PlanSensitivity
{
    private const int MostDevicesTried = 3;

    // Beyond these the whole search is too long to repeat; the replica of the device alone is planned again then, around the others.
    private const int MostStatesWhole = 4096, MostStatesPart = 1024, MostLinkAware = 6, MostDevices = 64;

    private const long LargestMemory = 1L << 50;

    /// <summary>What was found. Immutable.</summary>
    /// <param name="Text">The sentence.</param>
    /// <param name="Helps">Whether more memory helps at all.</param>
    internal sealed record Finding(string Text, bool Helps);

    /// <summary>The finding for <paramref name="plan"/>, which is the one of largest capacity; null where nothing can be said at small cost.</summary>
    /// <param name="problem">What was planned.</param>
    /// <param name="plan">Its plan.</param>
    /// <param name="search">Plans another cluster in the same way.</param>
    /// <param name="cancellation">Ends it.</param>
    public static Finding? OfMemory(PlanningProblem problem, DeploymentPlan plan, Func<PlanningProblem, DeploymentPlan?> search, CancellationToken cancellation)
    {
        PlannerOptions options = problem.Options;
        if (options.Planner == PlannerKind.E2llm || options.TimeBudget is not null || problem.Devices.Length > MostDevices)
        {
            return null;
        }

        List<(int Device, int Replica, long Room)> full = Full(problem, plan);
        if (full.Count == 0)
        {
            return new Finding("More memory was not tried: no device is full.", false);
        }

        double before = plan.Predicted.RequestsPerSecond, best = before;
        var tried = new List<string>();
        string text = "";
        bool allWhole = true;
        foreach ((int index, int replica, long room) in full)
        {
            cancellation.ThrowIfCancellationRequested();
            DeviceProfile device = problem.Cluster.Devices[index];
            long memory = device.MemoryBytes + Math.Max(device.MemoryBytes / 4, room);
            Cluster cluster = problem.Cluster with { Devices = [.. problem.Cluster.Devices.Select((item, i) => i == index ? item with { MemoryBytes = memory } : item)] };
            var raised = new PlanningProblem(cluster, problem.Model, problem.Workload, options);
            bool whole = IsSmall(raised, MostStatesWhole) && options.Planner != PlannerKind.Anytime;
            double? after = whole ? search(raised)?.Predicted.RequestsPerSecond : Around(raised, plan, replica, cancellation);
            if (after is not { } capacity)
            {
                continue;
            }

            allWhole &= whole;
            tried.Add($"'{device.Name}'");
            if (capacity > best * 1.001)
            {
                best = capacity;
                text = string.Create(CultureInfo.InvariantCulture,
                    $"More memory helps most on '{device.Name}': with {memory} bytes, {(((double)memory / device.MemoryBytes) - 1) * 100:F0} % more, the capacity would be {capacity:G4} instead of {before:G4} requests per second{(whole ? "" : ", its replica planned again around the others")}.");
            }
        }

        return tried.Count == 0 ? null
            : text.Length > 0 ? new Finding(text, true)
            : new Finding(
                $"More memory {(allWhole ? "would not help" : "seems not to help")}: a quarter more, or room for one layer more, on any one of {string.Join(", ", tried)} leaves the capacity as it is{(allWhole ? "" : " when its replica is planned again around the others")}.",
                false);
    }

    // In the order of the problem, which does not depend on names: the fastest first, one of each kind.
    private static List<(int Device, int Replica, long Room)> Full(PlanningProblem problem, DeploymentPlan plan)
    {
        var held = new Dictionary<int, (int Replica, long Bytes, long Another)>();
        for (int r = 0; r < plan.Replicas.Count; r++)
        {
            ReplicaPlan replica = plan.Replicas[r];
            foreach (StagePlan stage in replica.Stages)
            {
                held[problem.Cluster.IndexOf(stage.Device)] = (r, stage.MemoryBytes, PlanExplanation.AnotherLayerBytes(problem, replica));
            }
        }

        var full = new List<(int Device, int Replica, long Room)>();
        var kinds = new HashSet<DeviceProfile>();
        foreach (int index in problem.Devices)
        {
            DeviceProfile device = problem.Cluster.Devices[index];
            if (full.Count < MostDevicesTried && held.TryGetValue(index, out (int Replica, long Bytes, long Another) stage)
                && stage.Another < LargestMemory && device.MemoryBytes < LargestMemory
                && stage.Bytes + stage.Another > device.MemoryBytes && kinds.Add(device with { Name = "" }))
            {
                full.Add((index, stage.Replica, stage.Bytes + stage.Another - device.MemoryBytes));
            }
        }

        return full;
    }

    private static bool IsSmall(PlanningProblem problem, int mostStates) => problem.LinksUniform
        ? ClassStates.TryCreate(Array.ConvertAll(problem.Classes, item => item.Devices.Length), mostStates) is not null
        : problem.Devices.Length <= MostLinkAware;

    // Capacity when the devices of one replica are planned anew and all other replicas stay; null where it has too many.
    private static double? Around(PlanningProblem raised, DeploymentPlan plan, int freed, CancellationToken cancellation)
    {
        var assembler = new PlanAssembler(raised);
        var drafts = new List<ReplicaDraft>();
        double prefill = 0, decode = 0;
        bool mixed = raised.Options.AllowMixed;
        for (int r = 0; r < plan.Replicas.Count; r++)
        {
            ReplicaPlan replica = plan.Replicas[r];
            if (r == freed)
            {
                continue;
            }

            drafts.Add(new ReplicaDraft(
                replica.Role, replica.DecodeSlots, replica.PrefillShare, [.. replica.Stages.Select(stage => raised.Cluster.IndexOf(stage.Device))],
                [.. replica.Stages.Select(stage => stage.Layers.Count)]));
            (double p, double d) = assembler.Evaluator.Shares(replica, assembler.Evaluator.Evaluate(replica));
            prefill += p;
            decode += d;
            mixed &= replica.Role != ReplicaRole.Mixed;
        }

        int[] free = [.. plan.Replicas[freed].Stages.Select(stage => raised.Cluster.IndexOf(stage.Device))];
        var part = new PlanningProblem(raised, free, mixed);
        if (raised.Options.MinimumReplicasPerPhase > 1 || !IsSmall(part, MostStatesPart))
        {
            return null;
        }

        IGroupRates rates = part.LinksUniform ? new GroupRates(part) : new LinkAwareRates(part, cancellation);
        if (ExactSearch.TryRun(part, rates, null, cancellation, prefill, decode, MostStatesPart) is not { } outcome)
        {
            return null;
        }

        drafts.AddRange(new PlanAssembler(part).Drafts(outcome.Groups, rates));
        var real = new RealLayers(raised, assembler);
        return assembler.Assemble([.. drafts.Select(real.Resplit).Select(draft => real.WithinCycle(draft)).OfType<ReplicaDraft>()], plan.Planner).Predicted.RequestsPerSecond;
    }
}
