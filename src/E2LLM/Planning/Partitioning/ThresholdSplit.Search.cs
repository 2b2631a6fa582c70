namespace E2LLM.Planning.Partitioning;

/// <content>The largest rate that a split has.</content>
internal sealed partial class ThresholdSplit
{
    // Doubles and then halves the interval; every success jumps to the rate that its split really has.
    private double Improve(ReadOnlySpan<int> counts, RoleTable table, int e, int h)
    {
        double low = CurrentRate(table), high = low * 2;
        if (!(low > 0))
        {
            return 0;
        }

        while (Test(counts, table, e, h, high))
        {
            low = Math.Max(high, CurrentRate(table));
            high = low * 2;
        }

        // One test just above settles most cases, since rates are few discrete values.
        while (high > low * (1 + Tolerance) && Test(counts, table, e, h, Above(low)))
        {
            low = Math.Max(low, CurrentRate(table));
            double middle = (low + high) / 2;
            if (middle <= low || middle >= high)
            {
                break;
            }

            if (Test(counts, table, e, h, middle))
            {
                low = Math.Max(low, CurrentRate(table));
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }
}
