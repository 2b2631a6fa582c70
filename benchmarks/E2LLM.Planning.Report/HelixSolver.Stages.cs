namespace E2LLM.Planning.Report;

/// <content>The most layers that runs of stages hold at a wanted flow.</content>
internal sealed partial class HelixSolver
{
    // Most layers that stages of the wanted flow hold, over multisets of node types; the first and last stage have at least so many nodes.
    private bool Stages(double flow, int hops, IEnumerable<int> nodes, int firstWide, int lastWide, out int layers, out List<(List<int> Nodes, int Layers)> stages)
    {
        IGrouping<string, int>[] types = [.. nodes.GroupBy(node => instance.Types[node])];
        int[] sizes = Array.ConvertAll(types, type => type.Count());
        int states = sizes.Aggregate(1, (product, size) => product * (size + 1));
        var digits = new int[states][];
        var holds = new int[states];
        var width = new int[states];
        for (int s = 0; s < states; s++)
        {
            digits[s] = new int[sizes.Length];
            for (int t = 0, rest = s; t < sizes.Length; rest /= sizes[t] + 1, t++)
            {
                digits[s][t] = rest % (sizes[t] + 1);
                width[s] += digits[s][t];
            }

            for (int k = 1; s > 0 && k < 40; k++)
            {
                double sum = 0;
                for (int t = 0; t < sizes.Length; t++)
                {
                    double[] rates = instance.Rates[types[t].First()];
                    sum += digits[s][t] > 0 ? k < rates.Length ? digits[s][t] * rates[k] : double.NegativeInfinity : 0;
                }

                holds[s] = sum >= flow ? k : holds[s];
            }
        }

        // most[h, s]: most layers of h stages with nodes of exactly the multiset s or fewer.
        int[] useful = [.. Enumerable.Range(1, states - 1).Where(s => holds[s] > 0 && !Wasteful(s))];
        bool Wasteful(int s)
        {
            // A stage with one node fewer that holds as many layers is no worse, unless width is wanted.
            for (int t = 0, stride = 1; t < sizes.Length; stride *= sizes[t] + 1, t++)
            {
                if (digits[s][t] > 0 && s - stride > 0 && holds[s - stride] >= holds[s] && width[s] > Math.Max(firstWide, lastWide))
                {
                    return true;
                }
            }

            return false;
        }

        var most = new int[hops + 1, states];
        var choice = new int[hops + 1, states];
        for (int h = 0; h <= hops; h++)
        {
            for (int s = 0; s < states; s++)
            {
                most[h, s] = h == 0 ? 0 : -1;
            }
        }

        (int Value, int H, int S, int Last) best = (-1, 0, 0, 0);
        for (int h = 1; h <= hops; h++)
        {
            for (int s = 1; s < states; s++)
            {
                foreach (int part in useful)
                {
                    if (part > s || !Inside(digits[part], digits[s]) || most[h - 1, s - part] < 0 || (h == 1 && width[part] < firstWide))
                    {
                        continue;
                    }

                    int value = most[h - 1, s - part] + holds[part];
                    if (value > most[h, s])
                    {
                        (most[h, s], choice[h, s]) = (value, part);
                    }

                    if (value > best.Value && width[part] >= lastWide)
                    {
                        best = (value, h, s, part);
                    }
                }
            }
        }

        layers = best.Value;
        stages = [];
        Queue<int>[] free = Array.ConvertAll(types, type => new Queue<int>(type));
        for (int h = best.H, s = best.S, part = best.Last; h > 0; h--, s -= part, part = h > 0 ? choice[h, s] : 0)
        {
            var members = new List<int>();
            for (int t = 0; t < sizes.Length; t++)
            {
                for (int i = 0; i < digits[part][t]; i++)
                {
                    members.Add(free[t].Dequeue());
                }
            }

            stages.Insert(0, (members, holds[part]));
        }

        return best.Value > 0;
    }

    private static bool Inside(int[] part, int[] whole)
    {
        for (int t = 0; t < part.Length; t++)
        {
            if (part[t] > whole[t])
            {
                return false;
            }
        }

        return true;
    }
}
