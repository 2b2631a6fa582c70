using System.Numerics;

namespace E2LLM.Planning.Partitioning;

/// <summary>
/// The best order and split of layers over *every* subset of at most <see cref="MaxDevices"/> devices whose links differ, by dynamic programming over
/// (devices used, last device, layers placed): <c>f[S, d, l] = min over e, n of max(f[S - d, e, l - n], hop(e, d), stage(d, n))</c>. The same recursion with sums in place of
/// the maximum gives the shortest pass. The way back of a token's id is left to the evaluator. Exact over orders; the classes of the problem are single devices here. Not thread-safe.
/// Source: Algorithm 1 of E2LLM (arXiv 2606.03770) with EdgeShard's choice of the device set (arXiv 2405.14371) and a term for each link.
/// </summary>
internal sealed class LinkAwareSplit
{
    /// <summary>Most devices for which all subsets are searched.</summary>
    public const int MaxDevices = 12;

    private readonly PlanningProblem _problem;
    private readonly int _count;
    private readonly int _layerCount;
    private readonly double[] _hop;
    private readonly double[] _port;
    private int[] _members = [];
    private double _portLimit = double.PositiveInfinity;

    public LinkAwareSplit(PlanningProblem problem)
    {
        _problem = problem;
        _count = problem.Classes.Length;
        _layerCount = problem.LayerCount;
        _hop = new double[_count * _count];
        _port = new double[_count];
        for (int i = 0; i < _count; i++)
        {
            _port[i] = problem.Network.PortBytesPerSecond(problem.Classes[i].Devices[0]);
        }
    }

    /// <summary>
    /// Best value of every subset with at most <paramref name="maxSize"/> devices (or exactly <paramref name="onlySize"/>), by mask; positive infinity where none fits.
    /// <paramref name="sums"/> false: the slowest stage or hop; true: the sum of stages and hop latencies, stages limited to <paramref name="stageLimit"/>.
    /// <paramref name="portSeconds"/>: most seconds that a decode stage's port may need for the KV cache of one request. Only subsets of <paramref name="within"/> are searched, and masks count its devices only; <paramref name="trace"/> collects the best order of that whole set.
    /// </summary>
    public double[] Solve(
        RoleTable table, bool sums, int within, int maxSize, int onlySize, double stageLimit, bool mixed, List<(int Device, int Layers)>? trace, CancellationToken cancellation,
        double portSeconds = double.PositiveInfinity)
    {
        _portLimit = portSeconds;
        _members = [.. Enumerable.Range(0, _count).Where(d => (within >> d & 1) == 1)];
        int width = _layerCount + 1, masks = 1 << _members.Length, k = _members.Length;
        var f = new double[(long)masks * k * width];
        Array.Fill(f, double.PositiveInfinity);
        var best = new double[masks];
        Array.Fill(best, double.PositiveInfinity);
        Hops(table, sums, stageLimit);
        for (int d = 0; d < k; d++)
        {
            if (onlySize is 0 or 1)
            {
                best[1 << d] = Stage(table, d, _layerCount, RoleTable.Both, sums, stageLimit, mixed);
            }

            for (int n = 1; n < _layerCount; n++)
            {
                f[(((((long)1 << d) * k) + d) * width) + n] = Stage(table, d, n, RoleTable.Embedding, sums, stageLimit, mixed);
            }
        }

        for (int mask = 1; mask < masks; mask++)
        {
            if (BitOperations.PopCount((uint)mask) >= maxSize)
            {
                continue;
            }

            cancellation.ThrowIfCancellationRequested();
            for (int d = 0; d < k; d++)
            {
                if ((mask >> d & 1) == 1)
                {
                    Extend(table, f, best, mask, d, width, sums, onlySize, stageLimit, mixed);
                }
            }
        }

        if (trace is not null && best[masks - 1] < double.PositiveInfinity)
        {
            Trace(table, f, masks - 1, best[masks - 1], width, sums, stageLimit, mixed, trace);
        }

        return best;
    }

    private void Extend(
        RoleTable table, double[] f, double[] best, int mask, int d, int width, bool sums, int onlySize, double stageLimit, bool mixed)
    {
        int size = BitOperations.PopCount((uint)mask), k = _members.Length;
        long from = (((long)mask * k) + d) * width;
        for (int e = 0; e < k; e++)
        {
            double link = _hop[(d * k) + e];
            if ((mask >> e & 1) == 1 || double.IsPositiveInfinity(link))
            {
                continue;
            }

            int next = mask | 1 << e;
            long to = (((long)next * k) + e) * width;
            int most = Math.Min(_layerCount, Math.Max(0, table.Capacity[RoleTable.Plain][_members[e]]));
            bool middle = onlySize == 0 || size + 1 < onlySize, final = onlySize == 0 || size + 1 == onlySize;
            for (int n = 1; middle && n <= most; n++)
            {
                double seconds = Stage(table, e, n, RoleTable.Plain, sums, stageLimit, mixed);
                if (double.IsPositiveInfinity(seconds))
                {
                    break;
                }

                for (int l = size; l + n < _layerCount; l++)
                {
                    double before = f[from + l], value = sums ? before + link + seconds : Math.Max(Math.Max(before, link), seconds);
                    if (value < f[to + l + n])
                    {
                        f[to + l + n] = value;
                    }
                }
            }

            for (int n = 1; final && n <= Math.Min(_layerCount - size, table.Capacity[RoleTable.Head][_members[e]]); n++)
            {
                double seconds = Stage(table, e, n, RoleTable.Head, sums, stageLimit, mixed), before = f[from + _layerCount - n];
                double value = sums ? before + link + seconds : Math.Max(Math.Max(before, link), seconds);
                best[next] = Math.Min(best[next], value);
            }
        }
    }

    // Walks back from the best end: every value was made by one of the same few expressions, so equality is exact.
    private void Trace(
        RoleTable table, double[] f, int mask, double value, int width, bool sums, double stageLimit, bool mixed, List<(int Device, int Layers)> trace)
    {
        int left = _layerCount, k = _members.Length;
        if (BitOperations.PopCount((uint)mask) == 1)
        {
            trace.Add((_members[0], _layerCount));
            return;
        }

        int variant = RoleTable.Head, successor = -1;
        while (BitOperations.PopCount((uint)mask) > 1)
        {
            bool found = false;
            for (int e = 0; e < k && !found; e++)
            {
                if ((mask >> e & 1) == 0 || (successor >= 0 && e != successor))
                {
                    continue;
                }

                int rest = mask ^ 1 << e;
                for (int d = 0; d < k && !found; d++)
                {
                    double link = _hop[(d * k) + e];
                    if ((rest >> d & 1) == 0 || double.IsPositiveInfinity(link))
                    {
                        continue;
                    }

                    for (int n = 1; n < left && !found; n++)
                    {
                        double seconds = Stage(table, e, n, variant, sums, stageLimit, mixed), before = f[((((long)rest * k) + d) * width) + left - n];
                        double made = sums
                            ? before + link + seconds
                            : Math.Max(Math.Max(before, link), seconds);
                        if (made == value)
                        {
                            trace.Insert(0, (_members[e], n));
                            (mask, left, value, successor, variant, found) = (rest, left - n, before, d, RoleTable.Plain, true);
                        }
                    }
                }
            }

            if (!found)
            {
                throw new InvalidOperationException("A partition cannot be walked back.");
            }
        }

        trace.Insert(0, (_members[BitOperations.TrailingZeroCount(mask)], left));
    }

    private double Stage(RoleTable table, int member, int layers, int variant, bool sums, double stageLimit, bool mixed)
    {
        int d = _members[member];
        if (layers > table.Capacity[variant][d])
        {
            return double.PositiveInfinity;
        }

        double seconds = table.Fixed[variant][d] + (layers * table.Layer[d]) + (Math.Max(0, layers - table.Resident[variant][d]) * table.Spill[d]);
        if (table.IsPrefill && !mixed)
        {
            bool isLast = (variant & RoleTable.Head) != 0;
            double bytes = (layers * _problem.Work.PromptMean * _problem.Model.KvBytesPerToken / _layerCount)
                + (isLast ? 0 : _problem.Work.PromptMean * _problem.Model.HiddenStateBytes);
            seconds = Math.Max(seconds, bytes / _port[d]);
        }

        bool tooMany = !table.IsPrefill && !mixed && layers * _problem.Work.PromptMean * _problem.Model.KvBytesPerToken / _layerCount / _port[d] > _portLimit;
        seconds = Math.Max(seconds, StageTimes.LeastSeconds);
        return tooMany || double.IsNaN(seconds) || (sums && seconds > stageLimit) ? double.PositiveInfinity : seconds;
    }

    private void Hops(RoleTable table, bool sums, double stageLimit)
    {
        int k = _members.Length;
        double bytes = (table.IsPrefill ? _problem.Work.PromptMean : table.Batch) * _problem.Model.HiddenStateBytes;
        for (int i = 0; i < k; i++)
        {
            for (int j = 0; j < k; j++)
            {
                Costs.NetworkLink? link = i == j ? null : _problem.Network[_problem.Classes[_members[i]].Devices[0], _problem.Classes[_members[j]].Devices[0]];
                _hop[(i * k) + j] = link is null || (sums && link.BusySeconds(bytes) > stageLimit) ? double.PositiveInfinity : sums ? link.TransferSeconds(bytes) : link.BusySeconds(bytes);
            }
        }
    }
}
