using E2LLM.Deployment;
using E2LLM.Planning.Partitioning;

namespace E2LLM.Planning.Clustering;

/// <content>The plan that is improved.</content>
internal sealed partial class AnytimeSearch
{
    private List<int>[] Deal(int parts)
    {
        var hands = new List<int>[parts];
        for (int i = 0; i < parts; i++)
        {
            hands[i] = [];
        }

        for (int i = 0; i < problem.Devices.Length; i++)
        {
            hands[i % parts].Add(problem.Devices[i]);
        }

        return hands;
    }

    // Sub-clusters that mix large and small devices: dealt out like cards from the canonical order.
    private List<Served> Start()
    {
        int parts = 1;
        List<int>[] hands = Deal(parts);
        while (!Array.TrueForAll(hands, hand => IsSmall(hand, MaxPartStates)))
        {
            hands = Deal(++parts);
        }

        var best = new List<Served>();
        double prefill = 0, decode = 0;
        for (int i = 0; i < parts && !OutOfTime(); i++)
        {
            cancellation.ThrowIfCancellationRequested();
            progress?.Report(new PlanningProgress("sub-clusters", (double)i / parts, Math.Min(prefill, decode), double.PositiveInfinity));
            foreach (Served item in Solve(hands[i], prefill, decode, false))
            {
                best.Add(item);
                prefill += item.Prefill;
                decode += item.Decode;
            }
        }

        return best;
    }

    // Where no small sub-cluster holds the model: groups grown from the largest devices until one does.
    private List<Served> Grown()
    {
        var best = new List<Served>();
        int[] order = [.. problem.Devices];
        Array.Sort(Array.ConvertAll(order, device => -problem.Cluster.Devices[device].MemoryBytes), order);
        var group = new List<int>();
        double prefill = 0, decode = 0;
        foreach (int device in order)
        {
            cancellation.ThrowIfCancellationRequested();
            group.Add(device);
            if (group.Count > problem.MaxStageCount)
            {
                break;
            }

            var part = new PlanningProblem(problem, group, false);
            var rates = new GroupRates(part);
            int[] counts = Array.ConvertAll(part.Classes, item => item.Devices.Length);
            bool wantsPrefill = prefill <= decode;
            RoleChoice choice = wantsPrefill ? rates.Prefill(0, counts, 0) : rates.Decode(0, counts, 0);
            if (choice.Rate > 0)
            {
                var pick = new GroupPick(0, counts, wantsPrefill ? ReplicaRole.Prefill : ReplicaRole.Decode, choice, default, wantsPrefill ? 1 : 0);
                Served item = Serve(new PlanAssembler(part).Drafts([pick], rates)[0]);
                best.Add(item);
                prefill += item.Prefill;
                decode += item.Decode;
                group.Clear();
            }
        }

        if (best.Count == 1)
        {
            return SingleMixed(order) is { } mixed ? [mixed] : [];
        }

        return decode > 0 ? best : [];
    }

    private Served? SingleMixed(int[] order)
    {
        for (int count = 1; problem.Options.AllowMixed && count <= Math.Min(order.Length, problem.MaxStageCount); count++)
        {
            var part = new PlanningProblem(problem, order[..count], true);
            var rates = new GroupRates(part);
            int[] counts = Array.ConvertAll(part.Classes, item => item.Devices.Length);
            var choices = new List<MixedChoice>();
            rates.Mixed(0, counts, false, _ => true, choices);
            if (choices.Count > 0)
            {
                (double _, MixedChoice choice, double share) = MixedRoles.Best(choices, 0, 0, problem.Options.MixedSlowdown);
                return Serve(new PlanAssembler(part).Drafts([new GroupPick(0, counts, ReplicaRole.Mixed, choice.Split, choice, share)], rates)[0]);
            }
        }

        return null;
    }
}
