namespace E2LLM.Planning.Partitioning;

/// <summary>
/// The best split of equal layers over a group of devices on equal links, without dynamic programming. For a wanted rate every device can take so many
/// layers (<see cref="LayersWithin"/>); the rate can be had exactly if these sum to the model's layers and, for decoding, the sum of all stage times fits the cycle.
/// The order of devices does not matter then; only who has the embedding and who the head is tried. Equals Algorithm 1 of E2LLM (arXiv 2606.03770)
/// in its bottleneck, by test. Not thread-safe: one per thread; buffers are reused.
/// </summary>
/// <remarks>
/// Rates are requests per second. Prefill: <c>1 / max_j(stage seconds per prompt, port seconds per prompt)</c>. Decode with c slots in
/// <c>m = min(k, c)</c> micro-batches of <c>b = ceil(c / m)</c>: <c>cycle = max(sum_j(stage + hop), m max_j max(stage, hop))</c>, rate
/// <c>c / (cycle * mean output tokens)</c>, and no more than a receiving port passes KV caches.
/// </remarks>
internal sealed class ThresholdSplit
{
    private const double Tolerance = 1e-12;
    private readonly PlanningProblem problem;
    private readonly int classCount;
    private readonly int layerCount;
    private readonly double outputMean;
    private readonly double maxCycle;
    private readonly int[] plainTotal;
    private readonly int[] plainCount;
    private readonly int[] plainCap;
    private int embedClass;
    private int headClass;
    private int embedLayers;
    private int headLayers;
    private int size;

    public ThresholdSplit(PlanningProblem problem)
    {
        this.problem = problem;
        classCount = problem.Classes.Length;
        layerCount = problem.LayerCount;
        outputMean = problem.Work.OutputMean;
        maxCycle = problem.Work.MaxCycleSeconds;
        plainTotal = new int[classCount];
        plainCount = new int[classCount];
        plainCap = new int[classCount];
    }

    /// <summary>
    /// The best rate above <paramref name="atLeast"/> of the group with <paramref name="counts"/> devices of each class under <paramref name="table"/>,
    /// or 0 where there is none.
    /// </summary>
    public double BestRate(ReadOnlySpan<int> counts, RoleTable table, double atLeast, out int embedding, out int head)
    {
        embedding = -1;
        head = -1;
        size = 0;
        foreach (int count in counts)
        {
            size += count;
        }

        if (size == 0 || size > problem.MaxStageCount || !Test(counts, table, -1, -1, Above(atLeast)))
        {
            return 0;
        }

        double best = 0;
        for (int h = 0; h < classCount; h++)
        {
            if (counts[h] == 0)
            {
                continue;
            }

            for (int e = 0; e < classCount; e++)
            {
                // One device holds both; of more, the first holds the embedding and the last the head.
                if (counts[e] == 0 || (size == 1 ? e != h : e == h && counts[e] < 2))
                {
                    continue;
                }

                if (Test(counts, table, e, h, Above(Math.Max(best, atLeast))))
                {
                    best = Improve(counts, table, e, h);
                    (embedding, head) = (e, h);
                }
            }
        }

        return best > atLeast ? best : 0;
    }

    /// <summary>The split of the group at <paramref name="rate"/>: one entry per device, its class, its layers and its variant of <see cref="RoleTable"/>.</summary>
    public List<(int Class, int Layers, int Variant)> Split(ReadOnlySpan<int> counts, RoleTable table, int embedding, int head, double rate)
    {
        size = 0;
        foreach (int count in counts)
        {
            size += count;
        }

        // The rate was found from a split, so it can be had again; the slack covers rounding of the division.
        if (!Test(counts, table, embedding, head, rate * (1 - 1e-9)))
        {
            throw new InvalidOperationException("The rate of a split cannot be reached again.");
        }

        var stages = new List<(int, int, int)>(size);
        if (size == 1)
        {
            stages.Add((headClass, headLayers, RoleTable.Both));
            return stages;
        }

        stages.Add((embedClass, embedLayers, RoleTable.Embedding));
        for (int k = 0; k < classCount; k++)
        {
            for (int i = 0; i < plainCount[k]; i++)
            {
                stages.Add((k, (plainTotal[k] + i) / plainCount[k], RoleTable.Plain));
            }
        }

        stages.Add((headClass, headLayers, RoleTable.Head));
        return stages;
    }

    /// <summary>Rate of a given split under <paramref name="table"/>; 0 where it does not fit memory or targets.</summary>
    public double RateOf(List<(int Class, int Layers, int Variant)> stages, RoleTable table)
    {
        double slowest = 0, sum = 0, port = 0;
        foreach ((int k, int layers, int variant) in stages)
        {
            if (layers > table.Capacity[variant][k])
            {
                return 0;
            }

            double seconds = StageSeconds(table, k, layers, variant);
            slowest = Math.Max(slowest, seconds);
            sum += seconds;
            port = Math.Max(port, PortSeconds(table, layers, variant));
        }

        return Rate(table, stages.Count, slowest, sum, port);
    }

    private static double Above(double rate) => rate > 0 ? rate * (1 + Tolerance) : 0;

    private static double StageSeconds(RoleTable table, int k, int layers, int variant) =>
        table.Fixed[variant][k] + (layers * table.Layer[k]) + (Math.Max(0, layers - table.Resident[variant][k]) * table.Spill[k]);

    // A prefill stage sends its KV and, unless it is the last, hidden states; a decode stage receives its KV.
    private static double PortSeconds(RoleTable table, int layers, int variant) =>
        (layers * table.PortPerLayer) + (table.IsPrefill && (variant & RoleTable.Head) == 0 ? table.HopBusy : 0);

    private static int LayersWithin(RoleTable table, int k, int variant, double stageLimit, double portLimit)
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

        while (layers > 0 && PortSeconds(table, layers, variant) > portLimit)
        {
            int most = table.PortPerLayer > 0 ? (int)Math.Min(layers - 1, Math.Ceiling(portLimit / table.PortPerLayer)) : 0;
            layers = Math.Max(0, most);
        }

        return layers;
    }

    private int MicroBatches(RoleTable table) => Math.Min(size, table.Slots);

    private bool Test(ReadOnlySpan<int> counts, RoleTable table, int e, int h, double rate)
    {
        double stageLimit, portLimit = rate > 0 ? 1 / rate : double.PositiveInfinity, sumLimit = double.PositiveInfinity;
        if (table.IsPrefill)
        {
            stageLimit = portLimit;
        }
        else
        {
            sumLimit = Math.Min(rate > 0 ? table.Slots / (rate * outputMean) : double.PositiveInfinity, maxCycle);
            stageLimit = sumLimit / MicroBatches(table);
            if (size > 1 && table.HopBusy > stageLimit)
            {
                return false;
            }
        }

        embedClass = e;
        headClass = h;
        embedLayers = headLayers = 0;
        int room = 0, embedCap = 0, headCap = 0;
        if (e >= 0)
        {
            if (size == 1)
            {
                headCap = LayersWithin(table, h, RoleTable.Both, stageLimit, portLimit);
                headLayers = layerCount;
                return headCap >= layerCount && StageSeconds(table, h, layerCount, RoleTable.Both) <= sumLimit;
            }

            embedCap = LayersWithin(table, e, RoleTable.Embedding, stageLimit, portLimit);
            headCap = LayersWithin(table, h, RoleTable.Head, stageLimit, portLimit);
            if (embedCap < 1 || headCap < 1)
            {
                return false;
            }

            room = embedCap + headCap;
            embedLayers = headLayers = 1;
        }

        for (int k = 0; k < classCount; k++)
        {
            int plain = counts[k] - (k == e ? 1 : 0) - (k == h ? 1 : 0);
            plainCount[k] = plain;
            plainTotal[k] = plain;
            plainCap[k] = 0;
            if (plain == 0)
            {
                continue;
            }

            int cap = LayersWithin(table, k, RoleTable.Plain, stageLimit, portLimit);
            if (cap < 1)
            {
                return false;
            }

            plainCap[k] = cap;
            room += plain * cap;
        }

        if (room < layerCount)
        {
            return false;
        }

        return Fill(table, layerCount - size, embedCap, headCap, sumLimit);
    }

    // Every device has one layer; the rest goes to the smallest marginal seconds first, which minimises the sum of stage times within the caps.
    private bool Fill(RoleTable table, int left, int embedCap, int headCap, double sumLimit)
    {
        foreach (int segment in table.Order)
        {
            bool spilled = segment >= classCount;
            int k = spilled ? segment - classCount : segment;
            if (plainCount[k] > 0)
            {
                int cap = spilled ? plainCap[k] : Math.Min(plainCap[k], Math.Max(1, table.Resident[RoleTable.Plain][k]));
                left -= Take(ref plainTotal[k], cap * plainCount[k], left);
            }

            if (embedClass == k)
            {
                left -= Take(ref embedLayers, spilled ? embedCap : Math.Min(embedCap, Math.Max(1, table.Resident[RoleTable.Embedding][k])), left);
            }

            if (headClass == k)
            {
                left -= Take(ref headLayers, spilled ? headCap : Math.Min(headCap, Math.Max(1, table.Resident[RoleTable.Head][k])), left);
            }
        }

        if (left > 0)
        {
            return false;
        }

        return table.IsPrefill || double.IsPositiveInfinity(sumLimit) || CycleSum(table, out _) <= sumLimit;
    }

    private static int Take(ref int layers, int cap, int left)
    {
        int taken = Math.Max(0, Math.Min(left, cap - layers));
        layers += taken;
        return taken;
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
            double busiest = Math.Max(slowest, port);
            return 1 / busiest;
        }

        int micro = Math.Min(stages, table.Slots);
        double cycle = Math.Max(sum + Hops(table, stages), micro * Math.Max(slowest, stages > 1 ? table.HopBusy : 0));
        if (cycle > maxCycle)
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

    // Doubles and then halves the interval; every success jumps to the rate that its split really has.
    private double Improve(ReadOnlySpan<int> counts, RoleTable table, int e, int h)
    {
        double low = CurrentRate(table), high = low * 2;
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
