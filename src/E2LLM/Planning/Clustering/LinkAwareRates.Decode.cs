using System.Numerics;
using E2LLM.Deployment;
using E2LLM.Planning.Partitioning;

namespace E2LLM.Planning.Clustering;

/// <content>The best decode rate of one group, over all its slots.</content>
internal sealed partial class LinkAwareRates
{
    private (double Rate, ReplicaDraft? Draft) SolveDecode(int mask)
    {
        int size = BitOperations.PopCount((uint)mask);
        (double Rate, ReplicaDraft? Draft) best = (0, null);
        List<(int Lowest, int Highest)> ranges = Ranges(size);
        for (int i = ranges.Count - 1; i >= 0; i--)
        {
            (int lowest, int highest) = ranges[i];
            if (lowest < highest && Shortest(RoleTable.DecodeRange(_problem, ReplicaRole.Decode, lowest, highest, size), mask, lowest, highest) <= best.Rate)
            {
                continue;
            }

            RoleTable? more = null;
            for (int slots = highest; slots >= lowest; slots--)
            {
                RoleTable table = RoleTable.Decode(_problem, slots, GroupRates.Batch(slots, size));
                if (more is null || more.Batch != table.Batch || !SameMemory(more, table))
                {
                    SolveDecode(mask, size, slots, table, ref best);
                }

                more = table;
            }
        }

        return best;
    }

    // With the same micro-batch and the same room for layers more slots are faster.
    private static bool SameMemory(RoleTable one, RoleTable other)
    {
        for (int variant = 0; variant < 4; variant++)
        {
            if (!one.Capacity[variant].AsSpan().SequenceEqual(other.Capacity[variant]) || !one.Resident[variant].AsSpan().SequenceEqual(other.Resident[variant]))
            {
                return false;
            }
        }

        return true;
    }

    // A rate that no split of the group exceeds with these slots.
    private double Shortest(RoleTable table, int mask, int lowest, int highest)
    {
        int micro = Math.Min(BitOperations.PopCount((uint)mask), lowest);
        double cycle = Math.Max(Value(table, true, mask, double.PositiveInfinity), micro * Value(table, false, mask, double.PositiveInfinity));
        return cycle <= _problem.Work.MaxCycleSeconds ? highest / (cycle * _problem.Work.OutputMean) : 0;
    }

    private void SolveDecode(int mask, int size, int slots, RoleTable table, ref (double Rate, ReplicaDraft? Draft) best)
    {
        int micro = Math.Min(size, slots);
        double quickest = Shortest(table, mask, slots, slots);
        if (quickest <= best.Rate)
        {
            return;
        }

        // The cycle X can be had if the shortest sum, with no stage above X / m and no port above what passes in c requests' time, is no more than X.
        double perCycle = _problem.Work.OutputMean / slots, low = slots / (quickest * _problem.Work.OutputMean), high = low, most = Slack(slots / (best.Rate * _problem.Work.OutputMean));
        while (Value(table, true, mask, Slack(high / micro), Slack(high * perCycle)) > Slack(high))
        {
            high *= 1.25;
            if (high > Math.Min(most, _problem.Work.MaxCycleSeconds) * 1.25 || double.IsInfinity(high))
            {
                return;
            }
        }

        for (int round = 0; round < Rounds && high > low * (1 + 1e-10); round++)
        {
            double middle = (low + high) / 2;
            if (Value(table, true, mask, middle / micro, middle * perCycle) <= middle)
            {
                high = middle;
            }
            else
            {
                low = middle;
            }
        }

        Consider(Trace(table, true, mask, Slack(high / micro), ReplicaRole.Decode, slots, false, Slack(high * perCycle)), ref best);
    }

    private static double Slack(double seconds) => seconds * (1 + 1e-12);

    private void Consider(ReplicaDraft? draft, ref (double Rate, ReplicaDraft? Draft) best)
    {
        if (draft is null)
        {
            return;
        }

        ReplicaRates rates = _evaluator.Evaluate(new PlanAssembler(_problem).Replica(draft));
        if (rates.CycleSeconds <= _problem.Work.MaxCycleSeconds && rates.DecodeRequestsPerSecond > best.Rate)
        {
            best = (rates.DecodeRequestsPerSecond, draft);
        }
    }
}
