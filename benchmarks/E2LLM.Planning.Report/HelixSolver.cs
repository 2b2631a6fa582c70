namespace E2LLM.Planning.Report;

/// <summary>A placement: first layer and number of layers of each node (0: unused).</summary>
internal sealed record HelixPlacement(int[] First, int[] Count, int Hops);

/// <summary>
/// Placements as stages one after the other, a stage being nodes that hold the same layers side by side. For a wanted flow the most layers are found by dynamic programming over
/// counts of node types and hops; the flow is bisected. <see cref="MaxFlow"/> with the real links judges what comes out.
/// </summary>
internal sealed partial class HelixSolver(HelixInstance instance)
{
    /// <summary>
    /// No placement has more flow: every layer passes the whole flow F, so <c>L F &lt;= sum over nodes of max_n n min(T(n), F)</c>. Not monotone in F, so all pieces are looked at: between
    /// two rates the right side is convex, so it crosses at most once from a feasible end.
    /// </summary>
    public double TruncatedBound()
    {
        double[] breaks = [.. instance.Rates.SelectMany(rates => rates.Skip(1)).Where(rate => rate > 0).Distinct().OrderDescending(), 1e-9];
        for (int i = 0; i + 1 < breaks.Length; i++)
        {
            if (Slack(breaks[i]) >= 0)
            {
                return breaks[i];
            }

            double low = breaks[i + 1], high = breaks[i];
            if (Slack(low * (1 + 1e-12)) >= 0)
            {
                for (int step = 0; step < 200; step++)
                {
                    double middle = (low + high) / 2;
                    (low, high) = Slack(middle) >= 0 ? (middle, high) : (low, middle);
                }

                return high;
            }
        }

        return 0;
    }

    /// <summary>One pipeline, each node a stage: the largest F for which node counts n with T(n) at least F sum to the layers.</summary>
    public (double Flow, HelixPlacement Placement) OnePipeline()
    {
        foreach (double flow in instance.Rates.SelectMany(rates => rates.Skip(1)).Distinct().OrderDescending())
        {
            if (Chain(flow) is { } placement)
            {
                return (flow, placement);
            }
        }

        return (0, new HelixPlacement([], [], 0));
    }

    /// <summary>At most <paramref name="hops"/> stages, nodes side by side in a stage.</summary>
    public (double Flow, HelixPlacement? Placement) Staged(int hops)
    {
        (double Flow, HelixPlacement? Placement) best = (0, null);
        double low = 0, high = TruncatedBound();
        for (int step = 0; step < 26; step++)
        {
            double middle = (low + high) / 2;
            if (Stages(middle, hops, Enumerable.Range(0, instance.Types.Count), 1, 1, out int layers, out List<(List<int> Nodes, int Layers)> stages) && layers >= instance.Layers)
            {
                low = middle;
                HelixPlacement placement = Place([stages]);
                double flow = MaxFlow(placement);
                if (flow > best.Flow)
                {
                    best = (flow, placement);
                }
            }
            else
            {
                high = middle;
            }
        }

        return best;
    }

    /// <summary>Where links between regions are slow: each region a run of stages, at least <paramref name="wide"/> nodes side by side at its ends, so that several links carry the flow.</summary>
    public (double Flow, HelixPlacement? Placement) Regional(int wide)
    {
        int[] region = instance.Regions();
        int regions = region.Max() + 1;
        (double Flow, HelixPlacement? Placement) best = (0, null);
        double low = 0, high = TruncatedBound();
        for (int step = 0; step < 16; step++)
        {
            double middle = (low + high) / 2;
            var parts = new List<List<(List<int> Nodes, int Layers)>>();
            int total = 0;
            for (int r = 0; r < regions; r++)
            {
                IEnumerable<int> nodes = Enumerable.Range(0, instance.Types.Count).Where(node => region[node] == r);
                if (Stages(middle, 24, nodes, r == 0 ? 1 : wide, r == regions - 1 ? 1 : wide, out int layers, out List<(List<int> Nodes, int Layers)> stages))
                {
                    total += layers;
                    parts.Add(stages);
                }
            }

            if (total >= instance.Layers)
            {
                low = middle;
                HelixPlacement placement = Place(parts);
                double flow = MaxFlow(placement);
                if (flow > best.Flow)
                {
                    best = (flow, placement);
                }
            }
            else
            {
                high = middle;
            }
        }

        return best;
    }

    /// <summary>Largest flow through a placement: a node passes on to whoever holds the next layer (Dinic's algorithm on node-split arcs).</summary>
    public double MaxFlow(HelixPlacement placement)
    {
        int n = instance.Types.Count;
        var flow = new Dinic((2 * n) + 2);
        int source = 2 * n, sink = (2 * n) + 1;
        for (int i = 0; i < n; i++)
        {
            if (placement.Count[i] == 0)
            {
                continue;
            }

            flow.Add(2 * i, (2 * i) + 1, instance.Rates[i][placement.Count[i]]);
            if (placement.First[i] == 0)
            {
                flow.Add(source, 2 * i, instance.Links[instance.Source, i]);
            }

            int end = placement.First[i] + placement.Count[i];
            if (end == instance.Layers)
            {
                flow.Add((2 * i) + 1, sink, instance.Links[i, instance.Sink]);
            }

            for (int j = 0; j < n; j++)
            {
                if (j != i && placement.Count[j] > 0 && placement.First[j] == end)
                {
                    flow.Add((2 * i) + 1, 2 * j, instance.Links[i, j]);
                }
            }
        }

        return flow.Run(source, sink);
    }

    private double Slack(double flow)
    {
        double sum = 0;
        foreach (double[] rates in instance.Rates)
        {
            double best = 0;
            for (int k = 1; k < rates.Length; k++)
            {
                best = Math.Max(best, k * Math.Min(rates[k], flow));
            }

            sum += best;
        }

        return sum - (instance.Layers * flow);
    }

    private HelixPlacement? Chain(double flow)
    {
        // reach[i][l]: l layers can be placed on the first i nodes.
        int n = instance.Types.Count, layers = instance.Layers;
        var via = new int[n + 1, layers + 1];
        var reach = new bool[n + 1, layers + 1];
        reach[0, 0] = true;
        for (int i = 0; i < n; i++)
        {
            for (int l = 0; l <= layers; l++)
            {
                for (int k = 0; reach[i, l] && k < instance.Rates[i].Length && l + k <= layers; k++)
                {
                    if ((k == 0 || instance.Rates[i][k] >= flow) && !reach[i + 1, l + k])
                    {
                        reach[i + 1, l + k] = true;
                        via[i + 1, l + k] = k;
                    }
                }
            }
        }

        if (!reach[n, layers])
        {
            return null;
        }

        var first = new int[n];
        var count = new int[n];
        int end = layers, hops = 0;
        for (int i = n; i > 0; i--)
        {
            count[i - 1] = via[i, end];
            first[i - 1] = end -= via[i, end];
            hops += count[i - 1] > 0 ? 1 : 0;
        }

        return new HelixPlacement(first, count, hops);
    }

    // Stages may hold more layers than there are: the surplus is cut where it costs least flow, from the stages with the most layers.
    private HelixPlacement Place(List<List<(List<int> Nodes, int Layers)>> parts)
    {
        List<(List<int> Nodes, int Layers)> stages = [.. parts.SelectMany(part => part)];
        int surplus = stages.Sum(stage => stage.Layers) - instance.Layers;
        for (int i = 0; surplus > 0; i = (i + 1) % stages.Count)
        {
            if (stages[i].Layers > 1)
            {
                stages[i] = (stages[i].Nodes, stages[i].Layers - 1);
                surplus--;
            }
        }

        var first = new int[instance.Types.Count];
        var count = new int[instance.Types.Count];
        int next = 0;
        foreach ((List<int> nodes, int layers) in stages)
        {
            foreach (int node in nodes)
            {
                (first[node], count[node]) = (next, layers);
            }

            next += layers;
        }

        return new HelixPlacement(first, count, stages.Count);
    }
}
