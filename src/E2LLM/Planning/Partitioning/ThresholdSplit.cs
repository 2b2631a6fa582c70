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
internal sealed partial class ThresholdSplit
{
    private const double Tolerance = 1e-12;
    private readonly PlanningProblem _problem;
    private readonly int _classCount;
    private readonly int _layerCount;
    private readonly double _outputMean;
    private readonly double _maxCycle;
    private readonly int[] _plainTotal;
    private readonly int[] _plainCount;
    private readonly int[] _plainCap;
    private int _embedClass;
    private int _headClass;
    private int _embedLayers;
    private int _headLayers;
    private int _size;
    private RoleTable? _beside;
    private double _besideLimit;
    private int _mostLayers;

    public ThresholdSplit(PlanningProblem problem)
    {
        _problem = problem;
        _classCount = problem.Classes.Length;
        _layerCount = problem.LayerCount;
        _outputMean = problem.Work.OutputMean;
        _maxCycle = problem.Work.MaxCycleSeconds;
        _plainTotal = new int[_classCount];
        _plainCount = new int[_classCount];
        _plainCap = new int[_classCount];
    }

    /// <summary>
    /// The best rate above <paramref name="atLeast"/> of the group with <paramref name="counts"/> devices of each class under <paramref name="table"/>,
    /// or 0 where there is none. With <paramref name="other"/>, the prefill table of a mixed replica, only splits whose prefill rate is above <paramref name="otherAbove"/> count,
    /// and with <paramref name="mostLayers"/> only those with no more on a stage.
    /// </summary>
    public double BestRate(
        ReadOnlySpan<int> counts, RoleTable table, double atLeast, out int embedding, out int head, RoleTable? other = null, double otherAbove = 0,
        int mostLayers = int.MaxValue)
    {
        Beside(other, otherAbove, mostLayers);
        embedding = -1;
        head = -1;
        _size = 0;
        foreach (int count in counts)
        {
            _size += count;
        }

        if (_size == 0 || _size > _problem.MaxStageCount || !Test(counts, table, -1, -1, Above(atLeast)))
        {
            return 0;
        }

        double best = 0;
        for (int h = 0; h < _classCount; h++)
        {
            if (counts[h] == 0)
            {
                continue;
            }

            for (int e = 0; e < _classCount; e++)
            {
                // One device holds both; of more, the first holds the embedding and the last the head.
                if (counts[e] == 0 || (_size == 1 ? e != h : e == h && counts[e] < 2))
                {
                    continue;
                }

                if (Test(counts, table, e, h, Above(Math.Max(best, atLeast))) && Improve(counts, table, e, h) is var rate && rate > best)
                {
                    best = rate;
                    (embedding, head) = (e, h);
                }
            }
        }

        return best > atLeast ? best : 0;
    }

    /// <summary>Whether a split above <paramref name="rate"/> is not ruled out by one quick test; <paramref name="table"/> may be one of a range of slots.</summary>
    public bool MayExceed(ReadOnlySpan<int> counts, RoleTable table, double rate)
    {
        Beside(null, 0, int.MaxValue);
        _size = 0;
        foreach (int count in counts)
        {
            _size += count;
        }

        return _size > 0 && _size <= _problem.MaxStageCount && Test(counts, table, -1, -1, Above(rate));
    }

    /// <summary>The split of the group at <paramref name="rate"/>: one entry per device, its class, its layers and its variant of <see cref="RoleTable"/>.</summary>
    public List<(int Class, int Layers, int Variant)> Split(
        ReadOnlySpan<int> counts, RoleTable table, int embedding, int head, double rate, RoleTable? other = null, double otherAbove = 0,
        int mostLayers = int.MaxValue)
    {
        Beside(other, otherAbove, mostLayers);
        _size = 0;
        foreach (int count in counts)
        {
            _size += count;
        }

        // The rate was found from a split, so it can be had again; the slack covers rounding of the division.
        if (!Test(counts, table, embedding, head, rate * (1 - 1e-9)))
        {
            throw new InvalidOperationException("The rate of a split cannot be reached again.");
        }

        var stages = new List<(int, int, int)>(_size);
        if (_size == 1)
        {
            stages.Add((_headClass, _headLayers, RoleTable.Both));
            return stages;
        }

        stages.Add((_embedClass, _embedLayers, RoleTable.Embedding));
        for (int k = 0; k < _classCount; k++)
        {
            for (int i = 0; i < _plainCount[k]; i++)
            {
                stages.Add((k, (_plainTotal[k] + i) / _plainCount[k], RoleTable.Plain));
            }
        }

        stages.Add((_headClass, _headLayers, RoleTable.Head));
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

    private int MicroBatches(RoleTable table) => Math.Min(_size, table.LeastSlots);

    private void Beside(RoleTable? other, double above, int most)
    {
        _mostLayers = most;
        _beside = other;
        _besideLimit = above > 0 ? 1 / Above(above) : double.PositiveInfinity;
    }

    private bool Test(ReadOnlySpan<int> counts, RoleTable table, int e, int h, double rate)
    {
        double stageLimit, portLimit = rate > 0 ? 1 / rate : double.PositiveInfinity, sumLimit = double.PositiveInfinity;
        if (table.IsPrefill)
        {
            stageLimit = portLimit;
        }
        else
        {
            sumLimit = Math.Min(rate > 0 ? table.Slots / (rate * _outputMean) : double.PositiveInfinity, _maxCycle);
            stageLimit = sumLimit / MicroBatches(table);
            if (_size > 1 && table.HopBusy > stageLimit)
            {
                return false;
            }
        }

        _embedClass = e;
        _headClass = h;
        _embedLayers = _headLayers = 0;
        int room = 0, embedCap = 0, headCap = 0;
        if (e >= 0)
        {
            if (_size == 1)
            {
                headCap = Cap(table, h, RoleTable.Both, stageLimit, portLimit);
                _headLayers = _layerCount;
                return headCap >= _layerCount && StageSeconds(table, h, _layerCount, RoleTable.Both) <= sumLimit;
            }

            embedCap = Cap(table, e, RoleTable.Embedding, stageLimit, portLimit);
            headCap = Cap(table, h, RoleTable.Head, stageLimit, portLimit);
            if (embedCap < 1 || headCap < 1)
            {
                return false;
            }

            room = embedCap + headCap;
            _embedLayers = _headLayers = 1;
        }

        for (int k = 0; k < _classCount; k++)
        {
            int plain = counts[k] - (k == e ? 1 : 0) - (k == h ? 1 : 0);
            _plainCount[k] = plain;
            _plainTotal[k] = plain;
            _plainCap[k] = 0;
            if (plain == 0)
            {
                continue;
            }

            // With no stage called the last, any of these may be it, and the last one sends no hidden states on.
            int cap = Cap(table, k, RoleTable.Plain, stageLimit, portLimit, e >= 0);
            if (cap < 1)
            {
                return false;
            }

            _plainCap[k] = cap;
            room += plain * cap;
        }

        if (room < _layerCount)
        {
            return false;
        }

        return Fill(table, _layerCount - _size, embedCap, headCap, sumLimit);
    }

    // Every device has one layer; the rest goes to the smallest marginal seconds first, which minimises the sum of stage times within the caps.
    private bool Fill(RoleTable table, int left, int embedCap, int headCap, double sumLimit)
    {
        foreach (int segment in table.Order)
        {
            bool spilled = segment >= _classCount;
            int k = spilled ? segment - _classCount : segment;
            if (_plainCount[k] > 0)
            {
                int cap = spilled ? _plainCap[k] : Math.Min(_plainCap[k], Math.Max(1, table.Resident[RoleTable.Plain][k]));
                left -= Take(ref _plainTotal[k], cap * _plainCount[k], left);
            }

            if (_embedClass == k)
            {
                left -= Take(ref _embedLayers, spilled ? embedCap : Math.Min(embedCap, Math.Max(1, table.Resident[RoleTable.Embedding][k])), left);
            }

            if (_headClass == k)
            {
                left -= Take(ref _headLayers, spilled ? headCap : Math.Min(headCap, Math.Max(1, table.Resident[RoleTable.Head][k])), left);
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
}
