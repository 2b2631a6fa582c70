using E2LLM.Costs;

namespace E2LLM.Simulation.Validation;

/// <summary>
/// A lower bound of mean end-to-end time over every plan and every policy, for equal requests at a fixed period. Weak duality: whatever a unit of finished work is said to be worth at each
/// time, the bound holds; good prices make it tight. The relaxation keeps what no plan escapes: each device runs one pass at a time, a pass takes what the cost model says for a layer (or
/// the head), a sequence is in one pass at a time and gets one token after the other, a prompt is on each device at most once. It forgets memory, links, and that a layer stays where it is.
/// <para>
/// With N(t) requests in the system, A(t) arrived, W(t) the work done in requests, and prices p(t) that never rise, p' = -v:
/// <c>integral of N >= p(end) n + integral of [v A - h A - sum over devices of max(0, max over passes (p value - (1 - v + h) sequences seconds) / seconds)]</c>, since
/// <c>N >= A - W</c> (weight v) and <c>N &lt;= A</c> (weight h), and since N is at least the sequences in passes. Not thread-safe.
/// </para>
/// </summary>
internal sealed class ServiceBound
{
    private const int Steps = 300;
    private static readonly double[] Extras = [0, 0.15, 0.4, 1, 2.5];
    private readonly Cluster _cluster;
    private readonly ModelCost _model;
    private readonly int _prompt, _output, _count;
    private readonly double _period;
    private readonly (LayerCost Layer, int Count)[] _kinds;
    private readonly double[] _promptShares;

    /// <summary>Prepares the bound of <paramref name="count"/> requests, one each <paramref name="period"/> seconds.</summary>
    public ServiceBound(Cluster cluster, ModelCost model, int prompt, int output, double period, int count)
    {
        (_cluster, _model, _prompt, _output, _period, _count) = (cluster, model, prompt, output, period, count);
        _kinds = [.. model.Layers.GroupBy(layer => layer).Select(group => (group.Key, group.Count()))];
        double sum = cluster.Devices.Sum(d => d.ComputeFlopsPerSecond);
        _promptShares = [.. cluster.Devices.Select(d => d.ComputeFlopsPerSecond / sum)];
    }

    /// <summary>The bound of the mean end-to-end time in seconds: the best found over prices. Any price would be valid; a longer search would only raise it.</summary>
    public double MeanEndToEndSeconds()
    {
        // Shares of prompt and head in a request's worth; then the price while requests come, when it begins to fall, and how fast.
        double[][] beginnings = [[0.15, 0.15, 0, 0.9, 0.9], [0.5, 0.1, 0.3, 0.5, 0.9], [0.2, 0.1, 2, 0.1, 1]];
        return beginnings.Max(Climb) / _count;
    }

    private double Climb(double[] at)
    {
        double best = double.NegativeInfinity;
        PassColumn[][] columns = [];
        double floor = 0;
        double Value(double[] x, bool newWorth)
        {
            if (newWorth)
            {
                columns = Columns(x[0], x[1]);
                floor = columns.Min(device => device.Min(c => c.Value > 0 ? c.Seconds * (c.Sequences + c.PromptShare) / c.Value : double.PositiveInfinity));
            }

            return Bound(columns, floor, floor * Math.Exp(x[2]), x[3] * _count * _period, Math.Clamp(x[4], 0.02, 1));
        }

        // Coordinates in turn, steps halved when none helps.
        double[] steps = [0.08, 0.08, 0.4, 0.3, 0.2];
        best = Value(at, true);
        for (int round = 0; round < 60 && steps[2] > 0.004; round++)
        {
            bool improved = false;
            for (int k = 0; k < at.Length; k++)
            {
                foreach (double sign in (double[])[1, -1])
                {
                    double[] tried = [.. at];
                    tried[k] += sign * steps[k];
                    if (tried[0] < 0 || tried[1] < 0 || tried[0] + tried[1] > 1 || tried[2] < 0 || tried[3] < 0)
                    {
                        continue;
                    }

                    double value = Value(tried, true);
                    if (value > best)
                    {
                        (best, at, improved) = (value, tried, true);
                        break;
                    }
                }
            }

            if (!improved)
            {
                steps = [.. steps.Select(s => s / 2)];
            }
        }

        return best;
    }

    private PassColumn[][] Columns(double prompt, double head)
    {
        // Within decode and prompt, each layer kind is worth what it reads or computes. Without a second token there are no decode steps.
        double decode = _output > 1 ? 1 - prompt - head : 0;
        prompt = 1 - decode - head;
        double[] reads = [.. _kinds.Select(k => k.Count * (StageCost.ReadBytes(_model, k.Layer, 16) + (16 * k.Layer.VisibleTokens(_prompt) * k.Layer.KvBytesPerToken)))];
        double[] operations = [.. _kinds.Select(k => k.Count * PassColumns.PromptOperations(k.Layer, _prompt))];
        var worth = new WorkWorth([.. reads.Select(r => decode * r / reads.Sum())], [.. operations.Select(o => prompt * o / operations.Sum())], head);
        var known = new Dictionary<DeviceProfile, PassColumn[]>();
        return [.. _cluster.Devices.Select((device, i) =>
        {
            DeviceProfile nameless = device with { Name = "" };
            return known.TryGetValue(nameless, out PassColumn[]? same)
                ? same : known[nameless] = PassColumns.Of(device, _model, _kinds, _prompt, _output, worth, _count, _promptShares[i]);
        })];
    }

    // The price is level until it falls at a constant rate to what a request costs at least; the integral in steps, each term on its safe side.
    private double Bound(PassColumn[][] columns, double floor, double level, double falls, double slope)
    {
        double end = falls + ((level - floor) / slope), sum = floor * _count;
        var cache = new Dictionary<(double Price, double Weight), double[]>();
        double step = Math.Max(end, 1e-6) / Steps;
        for (int i = 0; i < Steps; i++)
        {
            double from = i * step, to = from + step;
            double price = from <= falls ? level : level - (slope * (from - falls));
            double fell = Math.Max(0, to - Math.Max(from, falls)) * slope;
            sum += fell * Arrived(from);
            int most = Arrived(to);
            double weight = fell > 0 ? 1 - slope : 1, least = double.PositiveInfinity;
            foreach (double extra in fell > 0 ? [0.0] : Extras)
            {
                least = Math.Min(least, (extra * most) + Gains(columns, cache, price, weight + extra)[most]);
            }

            sum -= least * step;
        }

        return sum;
    }

    private int Arrived(double time) => Math.Min(_count, (int)Math.Floor((time / _period) + 1e-9) + 1);

    // Of all devices, worth per second beyond cost, by the most sequences of a pass.
    private double[] Gains(PassColumn[][] columns, Dictionary<(double, double), double[]> cache, double price, double weight)
    {
        if (cache.TryGetValue((price, weight), out double[]? known))
        {
            return known;
        }

        var gains = new double[_count + 1];
        foreach (PassColumn[] device in columns)
        {
            double best = 0;
            int sequences = 0;
            foreach (PassColumn column in device)
            {
                while (sequences < column.Sequences)
                {
                    gains[sequences++] += best;
                }

                best = Math.Max(best, (price * column.Value / column.Seconds) - (weight * (column.Sequences + column.PromptShare)));
            }

            while (sequences <= _count)
            {
                gains[sequences++] += best;
            }
        }

        return cache[(price, weight)] = gains;
    }
}
