using System.Diagnostics;

namespace E2LLM.Planning.Report;

/// <summary>
/// Whether any placement can have a wanted flow: every layer must lie on nodes whose rates sum to it at least, whatever the routes. Placements are searched from the first layer on, each node placed only where the
/// layer lacks it (a node that starts where it is not needed can be moved on by a layer until it is, so none is lost), with the truncated sum of the nodes left as a bound and states seen
/// before skipped. Says no only after all have been looked at.
/// </summary>
internal sealed class HelixCover
{
    private const int MaxStates = 12_000_000;
    private readonly HelixInstance _instance;
    private readonly int[] _total;
    private readonly double[][] _rates;
    private readonly HashSet<(UInt128 Active, long Left, int Layer)> _seen = [];
    private double _flow;
    private double[] _worth = [];
    private TimeSpan _limit;
    private Stopwatch _watch = new();

    public HelixCover(HelixInstance instance)
    {
        _instance = instance;
        IGrouping<string, int>[] types = [.. Enumerable.Range(0, instance.Types.Count).GroupBy(node => instance.Types[node])];
        _total = Array.ConvertAll(types, type => type.Count());
        _rates = Array.ConvertAll(types, type => instance.Rates[type.First()]);
    }

    /// <summary>States looked at by the last question.</summary>
    public int StateCount => _seen.Count;

    /// <summary>True: some cover has the flow (which need not make it a placement); false: no placement has it; null: not settled in the time.</summary>
    public bool? Has(double wanted, TimeSpan time)
    {
        (_flow, _limit, _watch) = (wanted, time, Stopwatch.StartNew());
        _seen.Clear();
        _worth = Array.ConvertAll(_rates, type => Enumerable.Range(1, type.Length - 1).Max(k => k * Math.Min(type[k], _flow)));
        return Place(0, [], [.. _total], 0, 0);
    }

    // active: (layers left, type, layers) of nodes that hold this layer; from: the first option that may still be added at it.
    private bool? Place(int layer, List<(int Left, int Type, int Layers)> active, int[] left, int from, int placed)
    {
        double sum = active.Sum(item => _rates[item.Type][item.Layers]);
        if (sum >= _flow)
        {
            // Every node placed here must be needed here.
            for (int i = active.Count - placed; i < active.Count; i++)
            {
                if (sum - _rates[active[i].Type][active[i].Layers] >= _flow)
                {
                    return false;
                }
            }

            int step = active.Min(item => item.Left);
            layer += step;
            if (layer >= _instance.Layers)
            {
                return true;
            }

            active = [.. active.Where(item => item.Left > step).Select(item => (item.Left - step, item.Type, item.Layers)).Order()];
            if (!_seen.Add(Key(active, left, layer)))
            {
                return false;
            }

            (from, placed) = (0, 0);
            sum = active.Sum(item => _rates[item.Type][item.Layers]);
        }

        double reach = active.Sum(item => item.Left * Math.Min(_rates[item.Type][item.Layers], _flow));
        for (int t = 0; t < left.Length; t++)
        {
            reach += left[t] * _worth[t];
        }

        if (reach < _flow * (_instance.Layers - layer))
        {
            return false;
        }

        if (_seen.Count > MaxStates || _watch.Elapsed > _limit)
        {
            return null;
        }

        if (sum >= _flow)
        {
            return Place(layer, active, left, 0, 0);
        }

        int option = 0;
        for (int t = 0; t < _rates.Length; t++)
        {
            for (int k = _rates[t].Length - 1; k >= 1; k--, option++)
            {
                if (option < from || left[t] == 0)
                {
                    continue;
                }

                left[t]--;
                active.Add((k, t, k));
                bool? found = Place(layer, active, left, option, placed + 1);
                active.RemoveAt(active.Count - 1);
                left[t]++;
                if (found is not false)
                {
                    return found;
                }
            }
        }

        return false;
    }

    private static (UInt128 Active, long Left, int Layer) Key(List<(int Left, int Type, int Layers)> active, int[] left, int layer)
    {
        UInt128 packed = 1;
        foreach ((int rest, int type, int layers) in active)
        {
            packed = (packed << 12) | (uint)((rest << 7) | (type << 5) | Math.Min(layers, 31));
        }

        long counts = 0;
        foreach (int count in left)
        {
            counts = (counts * 64) + count;
        }

        return (packed, counts, layer);
    }
}
