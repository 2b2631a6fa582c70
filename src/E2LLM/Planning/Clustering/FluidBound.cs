using E2LLM.Planning.Partitioning;

namespace E2LLM.Planning.Clustering;

/// <summary>
/// A bound on capacity that needs no search. Give each layer the weight a and the head the weight b with <c>L a + b = 1</c>. A replica of rate r whose stage j has n_j layers (and the
/// head or not, h_j) has <c>r = sum_j r (n_j a + h_j b)</c>, and stage j allows at most <c>(n_j a + h_j b) / seconds(n_j, h_j)</c> of it: so a device carries at most
/// the largest such value p of prefill, or q of decode (over batches too), whatever replica it is in, and <c>min(P, D) &lt;= sum over devices of max(w p, (1 - w) q)</c> for every
/// weight w of the phases. The smallest over w and b of each phase is taken. A port counts like a stage where all replicas are pure; latencies and whole replicas are left out. Where layers differ the cheapest stands for all.
/// </summary>
internal sealed class FluidBound
{
    /// <summary>One way a device can be a stage: layers, head or not, and the request rate it passes.</summary>
    private readonly record struct Option(int Layers, bool Head, double Rate);

    private const int Sweeps = 3;
    private readonly int _layerCount;
    private readonly bool _ports;
    private readonly int[] _counts;
    private readonly List<Option>[] _prefillOptions;
    private readonly List<Option>[] _decodeOptions;
    private readonly double[] _prefill;
    private readonly double[] _decode;

    public FluidBound(PlanningProblem problem)
    {
        int classes = problem.Classes.Length;
        _layerCount = problem.LayerCount;
        _ports = !problem.Options.AllowMixed;
        _counts = Array.ConvertAll(problem.Classes, item => item.Devices.Length);
        _prefillOptions = [.. Enumerable.Range(0, classes).Select(_ => new List<Option>())];
        _decodeOptions = [.. Enumerable.Range(0, classes).Select(_ => new List<Option>())];
        _prefill = new double[classes];
        _decode = new double[classes];
        double cheapest = problem.LayersUniform ? 1 : CheapestShare(problem);
        Collect(RoleTable.Prefill(problem), null, 1, 1, cheapest, _prefillOptions);
        int most = problem.Options.MaxDecodeSlots;
        for (int low = 1; low <= most;)
        {
            // Every batch up to 64; beyond, between two batches of a grid, the time of the smaller and the tokens of the larger. With b per micro-batch and
            // two or more stages there are at least 2b - 1 slots.
            int next = low < 64 ? low + 1 : Math.Max(low + 1, low * 21 / 20), batch = Math.Min(next - 1, most);
            RoleTable? many = (2 * low) - 1 <= most ? RoleTable.Decode(problem, (2 * low) - 1, low) : null;
            Collect(many, RoleTable.Decode(problem, low, low), batch, problem.Work.OutputMean, cheapest, _decodeOptions);
            low = next;
        }

        Array.ForEach(_prefillOptions, Thin);
        Array.ForEach(_decodeOptions, Thin);
        Value = double.PositiveInfinity;
        Weight = 0.5;
        Evaluate(_prefillOptions, 0, _prefill);
        Evaluate(_decodeOptions, 0, _decode);
        for (int sweep = 0; sweep < Sweeps; sweep++)
        {
            Weight = Smallest(At);
            Evaluate(_prefillOptions, Smallest(share => With(_prefillOptions, share, _prefill)), _prefill);
            Evaluate(_decodeOptions, Smallest(share => With(_decodeOptions, share, _decode)), _decode);
        }

        Weight = Smallest(At);
        Value = At(Weight);
    }

    /// <summary>No plan has more requests per second.</summary>
    public double Value { get; }

    /// <summary>The weight of prefill at which the bound is smallest.</summary>
    public double Weight { get; private set; }

    // Of options with as many layers and the same part of the head only the fastest counts.
    private static void Thin(List<Option> options)
    {
        options.Sort((x, y) => x.Layers != y.Layers ? x.Layers.CompareTo(y.Layers) : x.Head != y.Head ? x.Head.CompareTo(y.Head) : y.Rate.CompareTo(x.Rate));
        int kept = 0;
        for (int i = 0; i < options.Count; i++)
        {
            if (kept == 0 || options[kept - 1].Layers != options[i].Layers || options[kept - 1].Head != options[i].Head)
            {
                options[kept++] = options[i];
            }
        }

        options.RemoveRange(kept, options.Count - kept);
    }

    private double At(double weight)
    {
        double sum = 0;
        for (int k = 0; k < _counts.Length; k++)
        {
            sum += _counts[k] * Math.Max(weight * _prefill[k], (1 - weight) * _decode[k]);
        }

        return sum;
    }

    private double With(List<Option>[] options, double headShare, double[] target)
    {
        Evaluate(options, headShare, target);
        return At(Weight);
    }

    private void Evaluate(List<Option>[] options, double headShare, double[] target)
    {
        double layerShare = (1 - headShare) / _layerCount;
        for (int k = 0; k < target.Length; k++)
        {
            double best = 0;
            foreach (Option option in options[k])
            {
                best = Math.Max(best, ((option.Layers * layerShare) + (option.Head ? headShare : 0)) * option.Rate);
            }

            target[k] = best;
        }
    }

    private void Collect(RoleTable? many, RoleTable? alone, int batch, double tokens, double cheapest, List<Option>[] options)
    {
        for (int k = 0; k < options.Length; k++)
        {
            if (many is not null)
            {
                Add(options[k], many, k, RoleTable.Plain, _layerCount - 1, batch, tokens, cheapest);
                Add(options[k], many, k, RoleTable.Embedding, _layerCount - 1, batch, tokens, cheapest);
                Add(options[k], many, k, RoleTable.Head, _layerCount - 1, batch, tokens, cheapest);
            }

            if ((alone ?? many!).Capacity[RoleTable.Both][k] >= _layerCount)
            {
                Add(options[k], alone ?? many!, k, RoleTable.Both, _layerCount, batch, tokens, cheapest);
            }
        }
    }

    // Rate times a weight that is affine in the layers is monotone between the points where its slope changes: both ends, where layers begin to spill, and where the
    // port takes over from the stage's own time.
    private void Add(List<Option> options, RoleTable table, int k, int variant, int most, int batch, double tokens, double cheapest)
    {
        int capacity = Math.Min(most, table.Capacity[variant][k]), resident = table.Resident[variant][k];
        double layer = cheapest * table.Layer[k] * tokens / batch, sends = table.IsPrefill && (variant & RoleTable.Head) == 0 ? table.HopBusy : 0;
        double portPerLayer = _ports ? table.PortPerLayer : 0;
        double crossing = ((table.Fixed[variant][k] * tokens / batch) - sends) / (portPerLayer - layer);
        int around = crossing > 1 && crossing < capacity ? (int)crossing : 1;
        Span<int> ends = variant == RoleTable.Both ? [most] : [1, around, Math.Min(around + 1, capacity), Math.Min(resident, capacity), capacity];
        ends.Sort();
        int previous = 0;
        foreach (int n in ends)
        {
            if (n < 1 || n > capacity || n == previous)
            {
                continue;
            }

            double seconds = table.Fixed[variant][k] + (cheapest * n * table.Layer[k]) + (Math.Max(0, n - resident) * table.Spill[k]);
            seconds = Math.Max(seconds * tokens / batch, (n * portPerLayer) + sends);

            // 0 times infinity, where a time was too long for a number: the bound stays one if nothing is said against the device.
            seconds = double.IsNaN(seconds) ? 0 : seconds;
            options.Add(new Option(n, (variant & RoleTable.Head) != 0, 1 / Math.Max(seconds, StageTimes.LeastSeconds / Math.Max(1, batch))));
            previous = n;
        }
    }

    // Layers of a stage are a range, but the bound must hold for whichever it is: the cheapest layer's share of the mean layer.
    private static double CheapestShare(PlanningProblem problem)
    {
        double share = 1;
        foreach (DeviceClass item in problem.Classes)
        {
            double prefillMean = problem.MeanPrefillLayer(item.Profile);
            foreach (Costs.LayerCost layer in problem.Model.Layers)
            {
                share = Math.Min(share, Share(problem.Times.PrefillLayer(item.Profile, layer), prefillMean));
                foreach (int batch in new[] { 1, 8, 64 })
                {
                    share = Math.Min(share, Share(problem.Times.DecodeLayer(item.Profile, layer, batch), problem.MeanDecodeLayer(item.Profile, batch)));
                }
            }
        }

        return share * Math.Min(1, (double)problem.Model.Layers.Min(layer => layer.WeightBytes) / problem.LargestLayerBytes);
    }

    // A device too slow for a number of seconds carries nothing, whatever the share.
    private static double Share(double seconds, double mean) => double.IsFinite(mean) && double.IsFinite(seconds / mean) ? seconds / mean : 1;

    // Every argument gives a valid bound; these functions are convex, so ternary search finds the smallest.
    private static double Smallest(Func<double, double> bound)
    {
        double low = 0, high = 1;
        for (int i = 0; i < 60; i++)
        {
            double left = low + ((high - low) / 3), right = high - ((high - low) / 3);
            if (bound(left) <= bound(right))
            {
                high = right;
            }
            else
            {
                low = left;
            }
        }

        return (low + high) / 2;
    }
}
