using E2LLM.Costs;
using E2LLM.Deployment;

namespace E2LLM.Planning.Partitioning;

/// <summary>
/// Splits a replica anew with the real layers where these differ (sliding windows in some, mixed quantisation): the search saw one surrogate layer. The order of stages stays.
/// Stateless apart from the problem; thread-safe.
/// </summary>
internal sealed class RealLayers(PlanningProblem problem, PlanAssembler assembler)
{
    /// <summary>The better of the draft and its re-split, judged by the evaluator.</summary>
    public ReplicaDraft Resplit(ReplicaDraft draft)
    {
        if (problem.LayersUniform || draft.Devices.Length < 2)
        {
            return draft;
        }

        ReplicaDraft best = draft;
        foreach (bool prefill in new[] { true, false })
        {
            if ((prefill && draft.Role == ReplicaRole.Decode) || (!prefill && draft.Role == ReplicaRole.Prefill))
            {
                continue;
            }

            if (Split(draft, prefill) is { } layers)
            {
                ReplicaDraft candidate = draft with { Layers = layers };
                best = Value(candidate) > Value(best) ? candidate : best;
            }
        }

        return best;
    }

    /// <summary>
    /// The draft with as many slots as its real layers decode within the longest allowed cycle; null where not even one does. Nothing changes where layers are alike.
    /// </summary>
    public ReplicaDraft? WithinCycle(ReplicaDraft draft)
    {
        if (problem.LayersUniform && problem.LinksUniform)
        {
            return draft;
        }

        for (int slots = draft.Slots; draft.Role != ReplicaRole.Prefill; slots--)
        {
            if (slots == 0)
            {
                return null;
            }

            ReplicaDraft fewer = draft with { Slots = slots };
            if (assembler.Evaluator.Evaluate(assembler.Replica(fewer)).CycleSeconds <= problem.Work.MaxCycleSeconds)
            {
                return fewer;
            }
        }

        return draft;
    }

    private double Value(ReplicaDraft draft)
    {
        ReplicaRates rates = assembler.Evaluator.Evaluate(assembler.Replica(draft));
        if (draft.Role != ReplicaRole.Prefill && rates.CycleSeconds > problem.Work.MaxCycleSeconds)
        {
            return 0;
        }

        return draft.Role switch
        {
            ReplicaRole.Prefill => rates.PrefillRequestsPerSecond,
            ReplicaRole.Decode => rates.DecodeRequestsPerSecond,
            _ => 1 / ((1 / rates.PrefillRequestsPerSecond) + (1 / rates.DecodeRequestsPerSecond)),
        };
    }

    private int[]? Split(ReplicaDraft draft, bool prefill)
    {
        int stages = draft.Devices.Length, layers = problem.LayerCount, batch = draft.Slots > 0 ? Clustering.GroupRates.Batch(draft.Slots, stages) : 1;
        var sums = new double[stages][];
        for (int j = 0; j < stages; j++)
        {
            DeviceProfile device = problem.Cluster.Devices[draft.Devices[j]];
            sums[j] = new double[layers + 1];
            for (int i = 0; i < layers; i++)
            {
                LayerCost layer = problem.Model.Layers[i];
                sums[j][i + 1] = sums[j][i] + (prefill ? problem.Times.PrefillLayer(device, layer) : problem.Times.DecodeLayer(device, layer, batch));
            }
        }

        double hidden = (prefill ? problem.Work.PromptMean : batch) * problem.Model.HiddenStateBytes;
        return PipelineDp.Split(
            stages, layers,
            (j, start, end) =>
            {
                DeviceProfile device = problem.Cluster.Devices[draft.Devices[j]];
                bool first = j == 0, last = j == stages - 1;
                if (problem.Times.Memory(draft.Role, new LayerRange(start, end), first, last, draft.Slots, batch) > device.MemoryBytes)
                {
                    return double.PositiveInfinity;
                }

                return sums[j][end] - sums[j][start]
                    + (prefill ? problem.Times.PrefillFixed(device, first, last) : problem.Times.DecodeFixed(device, first, last, batch));
            },
            j => problem.Network[draft.Devices[j], draft.Devices[j + 1]]?.BusySeconds(hidden) ?? double.PositiveInfinity,
            out _);
    }
}
