using System.Diagnostics;
using System.Text;

namespace E2LLM.Planning.Report;

/// <summary>Helix's published instances.</summary>
internal static class HelixPart
{
    private static readonly Dictionary<string, string> Published = new()
    {
        ["cluster10_llama30b"] = "286.5874 (proved, 3,803 s)",
        ["single24_llama70b"] = "1289.5558 (about 10 min)",
        ["3cluster24_llama70b"] = "952.1 (2,901 s); 1212.1768 pruned (8,240 s)",
        ["cluster42_llama70b"] = "4892.2424 (4,382 s); 4137.5476 pruned",
    };

    public static void Write(StringBuilder text, string data)
    {
        text.AppendLine("## 4. Helix's instances\n");
        string folder = Path.Combine(data, "helix");
        if (!File.Exists(Path.Combine(folder, "node_throughput.csv")))
        {
            text.AppendLine($"Skipped: no `helix/node_throughput.csv` under the folder given by `--data`.");
            return;
        }

        text.AppendLine("Maximum flow in tokens per second, Helix's own model of nodes and links (ASPLOS 2025; its published values come from Gurobi). Every value of ours is a maximum flow over the placement with the");
        text.AppendLine("instance's links. Bound: `L F <= sum of max_n n min(T(n), F)`. The solver is the report's own (stages of parallel nodes), not `DeploymentPlanner`: the problem has other costs.\n");
        text.AppendLine("| instance | published (time) | ours | how | hops | bound | gap | s |\n|---|---|---|---|---|---|---|---|");
        var proofs = new List<string>();
        foreach (HelixInstance instance in HelixInstance.Load(folder))
        {
            var solver = new HelixSolver(instance);
            _ = solver.OnePipeline();
            bool regional = instance.Regions().Max() > 0;
            var watch = Stopwatch.StartNew();
            double bound = solver.TruncatedBound();
            void Row(string how, double flow, int hops, bool limited)
            {
                string gap = limited ? "-" : $"{(bound - flow) / bound * 100:F1} %";
                text.AppendLine($"| {instance.Name} | {Published.GetValueOrDefault(instance.Name, "-")} | {flow:F2} | {how} | {hops} | {(limited ? "-" : $"{bound:F1}")} | {gap} | {watch.Elapsed.TotalSeconds:F2} |");
                watch.Restart();
            }

            (double _, HelixPlacement chain) = solver.OnePipeline();
            Row("one pipeline", solver.MaxFlow(chain), chain.Hops, false);
            if (instance.Name.StartsWith("cluster10", StringComparison.Ordinal))
            {
                proofs.Add(Proof(instance, solver.MaxFlow(chain), bound));
                watch.Restart();
            }

            if (instance.Name.StartsWith("single24", StringComparison.Ordinal))
            {
                foreach (int hops in new[] { 12, 14, 20 })
                {
                    (double flow, HelixPlacement? placement) = solver.Staged(hops);
                    Row($"at most {hops} stages", flow, placement?.Hops ?? 0, true);
                }
            }

            if (regional)
            {
                foreach (int wide in new[] { 1, 2, 3 })
                {
                    (double flow, HelixPlacement? placement) = solver.Regional(wide);
                    Row($"regions in turn, {wide} side by side at their ends", flow, placement?.Hops ?? 0, false);
                }
            }
        }

        foreach (string proof in proofs)
        {
            text.AppendLine();
            text.AppendLine(proof);
        }
    }

    // The largest flow that no search of covers rules out, in a minute at most.
    private static string Proof(HelixInstance instance, double value, double bound)
    {
        var cover = new HelixCover(instance);
        var watch = Stopwatch.StartNew();
        double low = value * (1 + 1e-9), high = bound;
        TimeSpan Left() => TimeSpan.FromSeconds(60) - watch.Elapsed;
        if (cover.Has(value * (1 - 1e-9), Left()) == false)
        {
            throw new InvalidOperationException("The search of covers rules out a placement that there is.");
        }

        if (cover.Has(low, Left()) == false)
        {
            return $"{instance.Name}: {value:F4} is **proved optimal** in {watch.Elapsed.TotalSeconds:F2} s: no set of layer ranges covers every layer with more than that ({cover.StateCount:N0} states, exhaustive), and every placement must, whatever the routes.";
        }

        for (int step = 0; step < 24 && Left() > TimeSpan.Zero && high > low * (1 + 1e-4); step++)
        {
            double middle = (low + high) / 2;
            switch (cover.Has(middle, Left() / 2))
            {
                case false:
                    high = middle;
                    break;
                default:
                    low = middle;
                    break;
            }
        }

        return $"{instance.Name}: covers of all layers are ruled out above {high:F2} in {watch.Elapsed.TotalSeconds:F1} s, a gap of {(high - value) / high * 100:F1} % (some cover has as much, so this way proves no more).";
    }
}
