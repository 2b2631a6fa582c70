using E2LLM.Planning.Partitioning;

namespace E2LLM.Planning.Clustering;

/// <summary>
/// Rates that no replica of some devices exceeds when KV caches need not pass its ports, as in a mixed replica whose prompts stay where they are. A replica of rate r with n_j layers in stage j has
/// <c>L r = sum_j n_j r &lt;= sum_j n_j / seconds_j(n_j)</c>, so each device adds at most the largest <c>n / (L seconds(n))</c>, which is at its most layers. Immutable.
/// </summary>
internal sealed class PortFreeRates
{
    private readonly double[] _prefill;
    private readonly double[] _decode;

    public PortFreeRates(PlanningProblem problem)
    {
        int classes = problem.Classes.Length, most = problem.Options.MaxDecodeSlots;
        (_prefill, _decode) = (new double[classes], new double[classes]);
        RoleTable table = RoleTable.Prefill(problem);
        double port = table.PortPerLayer + table.HopBusy, output = problem.Work.OutputMean;
        for (int k = 0; k < classes; k++)
        {
            _prefill[k] = Rate(problem, table, k, 1);
            PortsMatter |= !(port <= table.Layer[k]);
        }

        for (int batch = 1; batch <= most; batch = batch < 64 ? batch + 1 : batch * 21 / 20)
        {
            // Beyond 64 the tokens of the next batch of the grid with the time of this one.
            RoleTable step = RoleTable.Decode(problem, batch, batch);
            double sequences = batch < 64 ? batch : Math.Min(most, batch * 21 / 20);
            for (int k = 0; k < classes; k++)
            {
                _decode[k] = Math.Max(_decode[k], Rate(problem, step, k, sequences / output));
                PortsMatter |= !(table.PortPerLayer <= step.Layer[k] * output / sequences);
            }
        }

        PortsMatter |= !problem.LinksUniform;
    }

    /// <summary>Whether the ports, rather than the devices, may limit some replica.</summary>
    public bool PortsMatter { get; }

    /// <summary>Prefill and decode rates that no replica of these devices exceeds.</summary>
    public (double Prefill, double Decode) Of(ReadOnlySpan<int> counts)
    {
        double p = 0, d = 0;
        for (int k = 0; k < counts.Length; k++)
        {
            p += counts[k] * _prefill[k];
            d += counts[k] * _decode[k];
        }

        return (p, d);
    }

    private static double Rate(PlanningProblem problem, RoleTable table, int k, double requests)
    {
        int layers = Math.Min(problem.LayerCount, table.Capacity[RoleTable.Plain][k]), resident = Math.Clamp(table.Resident[RoleTable.Plain][k], 0, Math.Max(0, layers));
        double best = 0;
        foreach (int n in new[] { resident, layers })
        {
            double seconds = table.Fixed[RoleTable.Plain][k] + (n * table.Layer[k]) + (Math.Max(0, n - resident) * table.Spill[k]);
            best = n > 0 ? Math.Max(best, n * requests / Math.Max(seconds, StageTimes.LeastSeconds)) : best;
        }

        return double.IsNaN(best) ? double.PositiveInfinity : best / problem.LayerCount;
    }
}
