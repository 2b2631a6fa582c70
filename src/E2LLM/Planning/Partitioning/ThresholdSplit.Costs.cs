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
        int layers = Math.Min(_mostLayers, LayersWithin(table, k, variant, stageLimit, portLimit, sendsOn));
        return _beside is null ? layers : Math.Min(layers, LayersWithin(_beside, k, variant, _besideLimit, _besideLimit, sendsOn));
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
        for (int k = 0; k < _classCount; k++)
        {
            int count = _plainCount[k];
            if (count > 0)
            {
                int few = _plainTotal[k] / count, many = _plainTotal[k] - (few * count);
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

        if (_embedClass >= 0)
        {
            double first = StageSeconds(table, _embedClass, _embedLayers, RoleTable.Embedding);
            double last = StageSeconds(table, _headClass, _headLayers, RoleTable.Head);
            sum += first + last;
            slowest = Math.Max(slowest, Math.Max(first, last));
        }

        return sum + Hops(table, _size);
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
        if (!(cycle <= _maxCycle) || cycle > StageTimes.MostSeconds)
        {
            return 0;
        }

        double rate = table.Slots / (cycle * _outputMean);
        return port > 0 ? Math.Min(rate, 1 / port) : rate;
    }

    // The rate of the split that the last successful test left behind.
    private double CurrentRate(RoleTable table)
    {
        double port = 0;
        if (_size == 1)
        {
            double seconds = StageSeconds(table, _headClass, _layerCount, RoleTable.Both);
            return Rate(table, 1, seconds, seconds, PortSeconds(table, _layerCount, RoleTable.Both));
        }

        double sum = CycleSum(table, out double slowest) - Hops(table, _size);
        for (int k = 0; k < _classCount; k++)
        {
            if (_plainCount[k] > 0)
            {
                port = Math.Max(port, PortSeconds(table, (_plainTotal[k] + _plainCount[k] - 1) / _plainCount[k], RoleTable.Plain));
            }
        }

        port = Math.Max(port, PortSeconds(table, _embedLayers, RoleTable.Embedding));
        port = Math.Max(port, PortSeconds(table, _headLayers, RoleTable.Head));
        return Rate(table, _size, slowest, sum, port);
    }
}
