namespace E2LLM.Planning.Partitioning;

/// <content>What stages, ports and cycles of a split cost.</content>
internal sealed partial class ThresholdSplit
{
    private static double StageSeconds(RoleTable table, int k, int layers, int variant) =>
        table.Fixed[variant][k] + (layers * table.Layer[k]) + (Math.Max(0, layers - table.Resident[variant][k]) * table.Spill[k]);

    // A prefill stage sends its KV and, unless it is the last, hidden states; a decode stage receives its KV.
    private static double PortSeconds(RoleTable table, int layers, int variant) =>
        (layers * table.PortPerLayer) + (table.IsPrefill && (variant & RoleTable.Head) == 0 ? table.HopBusy : 0);

    private int Cap(RoleTable table, int k, int variant, double stageLimit, double portLimit, bool sendsOn = true)
    {
        int layers = Math.Min(mostLayers, LayersWithin(table, k, variant, stageLimit, portLimit, sendsOn));
        return beside is null ? layers : Math.Min(layers, LayersWithin(beside, k, variant, besideLimit, besideLimit, sendsOn));
    }

    private static int LayersWithin(RoleTable table, int k, int variant, double stageLimit, double portLimit, bool sendsOn = true)
    {
        int capacity = table.Capacity[variant][k];
        if (capacity < 1)
        {
            return 0;
        }

        double room = stageLimit - table.Fixed[variant][k];
        if (!(room > 0))
        {
            return 0;
        }

        int resident = table.Resident[variant][k], layers = capacity;
        if (room < double.PositiveInfinity)
        {
            double plain = room / table.Layer[k];
            layers = plain < resident || table.Spill[k] == 0
                ? (int)Math.Min(plain, capacity)
                : (int)Math.Min(capacity, Math.Max(resident, (room + (resident * table.Spill[k])) / (table.Layer[k] + table.Spill[k])));

            // Division rounds: the layer at the edge is judged by the sum itself.
            if (layers < capacity && StageSeconds(table, k, layers + 1, variant) <= stageLimit)
            {
                layers++;
            }

            if (layers > 0 && StageSeconds(table, k, layers, variant) > stageLimit)
            {
                layers--;
            }
        }

        double sends = sendsOn ? 0 : PortSeconds(table, 0, variant);
        while (layers > 0 && PortSeconds(table, layers, variant) - sends > portLimit)
        {
            int most = table.PortPerLayer > 0 ? (int)Math.Min(layers - 1, Math.Ceiling(portLimit / table.PortPerLayer)) : 0;
            layers = Math.Max(0, most);
        }

        return layers;
    }

    private double CycleSum(RoleTable table, out double slowest)
    {
        double sum = 0;
        slowest = 0;
        for (int k = 0; k < classCount; k++)
        {
            int count = plainCount[k];
            if (count > 0)
            {
                int few = plainTotal[k] / count, many = plainTotal[k] - (few * count);
                double seconds = StageSeconds(table, k, few, RoleTable.Plain);
                sum += (count - many) * seconds;
                if (many > 0)
                {
                    seconds = StageSeconds(table, k, few + 1, RoleTable.Plain);
                    sum += many * seconds;
                }

                slowest = Math.Max(slowest, seconds);
            }
        }

        if (embedClass >= 0)
        {
            double first = StageSeconds(table, embedClass, embedLayers, RoleTable.Embedding);
            double last = StageSeconds(table, headClass, headLayers, RoleTable.Head);
            sum += first + last;
            slowest = Math.Max(slowest, Math.Max(first, last));
        }

        return sum + Hops(table, size);
    }

    private static double Hops(RoleTable table, int stages) => stages > 1 ? ((stages - 1) * table.HopLatency) + table.ReturnLatency : 0;

    private double Rate(RoleTable table, int stages, double slowest, double sum, double port)
    {
        if (table.IsPrefill)
        {
            double busiest = Math.Max(Math.Max(slowest, port), StageTimes.LeastSeconds);
            return busiest < StageTimes.MostSeconds ? 1 / busiest : 0;
        }

        int micro = Math.Min(stages, table.LeastSlots);
        double cycle = Math.Max(sum + Hops(table, stages), micro * Math.Max(slowest, stages > 1 ? table.HopBusy : 0));
        cycle = Math.Max(cycle, StageTimes.LeastSeconds);
        if (!(cycle <= maxCycle) || cycle > StageTimes.MostSeconds)
        {
            return 0;
        }

        double rate = table.Slots / (cycle * outputMean);
        return port > 0 ? Math.Min(rate, 1 / port) : rate;
    }

    // The rate of the split that the last successful test left behind.
    private double CurrentRate(RoleTable table)
    {
        double port = 0;
        if (size == 1)
        {
            double seconds = StageSeconds(table, headClass, layerCount, RoleTable.Both);
            return Rate(table, 1, seconds, seconds, PortSeconds(table, layerCount, RoleTable.Both));
        }

        double sum = CycleSum(table, out double slowest) - Hops(table, size);
        for (int k = 0; k < classCount; k++)
        {
            if (plainCount[k] > 0)
            {
                port = Math.Max(port, PortSeconds(table, (plainTotal[k] + plainCount[k] - 1) / plainCount[k], RoleTable.Plain));
            }
        }

        port = Math.Max(port, PortSeconds(table, embedLayers, RoleTable.Embedding));
        port = Math.Max(port, PortSeconds(table, headLayers, RoleTable.Head));
        return Rate(table, size, slowest, sum, port);
    }
}
