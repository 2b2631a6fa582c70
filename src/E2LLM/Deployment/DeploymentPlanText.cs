using System.Globalization;
using System.Text;

namespace E2LLM.Deployment;

/// <summary>Draws plans as plain text, as a Mermaid graph and as an SVG picture: strings only, nothing is printed. Stateless; thread-safe.</summary>
public static class DeploymentPlanText
{
    private const int BarWidth = 40;

    /// <summary>
    /// The plan for a terminal: one block per replica with its role and speed, one line per stage with a bar of its layers, the bottleneck marked by <c>*</c>.
    /// ASCII besides the bars.
    /// </summary>
    public static string Draw(DeploymentPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"Plan for {plan.ModelName} ({plan.Planner}, seed {plan.Seed}): {plan.Replicas.Count} replicas, ");
        text.AppendLine(CultureInfo.InvariantCulture, $"{plan.Objective.Kind} {plan.Objective.Value:G4}{Certificate(plan.Objective)}");
        int nameWidth = 6, layerCount = 1;
        foreach (ReplicaPlan replica in plan.Replicas)
        {
            foreach (StagePlan stage in replica.Stages)
            {
                nameWidth = Math.Max(nameWidth, stage.Device.Length);
                layerCount = Math.Max(layerCount, stage.Layers.End);
            }
        }

        foreach (ReplicaPlan replica in plan.Replicas)
        {
            text.AppendLine();
            text.AppendLine(CultureInfo.InvariantCulture, $"  {replica.Name} {RoleName(replica)}  {Speed(replica)}");
            for (int j = 0; j < replica.Stages.Count; j++)
            {
                StagePlan stage = replica.Stages[j];
                int start = stage.Layers.Start * BarWidth / layerCount, end = Math.Max(start + 1, stage.Layers.End * BarWidth / layerCount);
                bool binding = replica.Bottleneck.At == stage.Device;
                text.Append(CultureInfo.InvariantCulture, $"   {(binding ? '*' : ' ')}{stage.Device.PadRight(nameWidth)} |");
                text.Append('.', start).Append('#', end - start).Append('.', Math.Max(0, BarWidth - end)).Append("| ");
                text.AppendLine(CultureInfo.InvariantCulture, $"layers {stage.Layers}{Ends(stage)} {Bytes(stage.MemoryBytes)}");
            }

            if (replica.Bottleneck.Seconds > 0)
            {
                text.AppendLine(CultureInfo.InvariantCulture, $"    limited by {replica.Bottleneck.Kind} {replica.Bottleneck.At}: {Time(replica.Bottleneck.Seconds)}");
            }
        }

        if (plan.UnusedDevices.Count > 0)
        {
            text.AppendLine().AppendLine(CultureInfo.InvariantCulture, $"  unused: {string.Join(", ", plan.UnusedDevices)}");
        }

        text.AppendLine().AppendLine(CultureInfo.InvariantCulture,
            $"  predicted: TTFT {Time(plan.Predicted.TtftSeconds)}, TPOT {Time(plan.Predicted.TpotSeconds)}, waiting {Time(plan.Predicted.WaitingSeconds)}, up to {plan.Predicted.RequestsPerSecond:G4} requests/s");
        return text.ToString();
    }

    /// <summary>The plan as a Mermaid flow chart: prefill replicas, their stages in order, KV caches passing to decode replicas.</summary>
    public static string DrawMermaid(DeploymentPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        var text = new StringBuilder("flowchart LR\n");
        for (int r = 0; r < plan.Replicas.Count; r++)
        {
            ReplicaPlan replica = plan.Replicas[r];
            text.Append(CultureInfo.InvariantCulture, $"  subgraph R{r}[\"{Quoted($"{replica.Name} {RoleName(replica)}")}\"]\n    direction LR\n");
            for (int j = 0; j < replica.Stages.Count; j++)
            {
                StagePlan stage = replica.Stages[j];
                text.Append(CultureInfo.InvariantCulture, $"    R{r}S{j}[\"{Quoted($"{stage.Device} {stage.Layers}")}\"]\n");
                if (j > 0)
                {
                    text.Append(CultureInfo.InvariantCulture, $"    R{r}S{j - 1} --> R{r}S{j}\n");
                }
            }

            text.Append("  end\n");
        }

        for (int r = 0; r < plan.Replicas.Count; r++)
        {
            for (int other = 0; other < plan.Replicas.Count; other++)
            {
                if (plan.Replicas[r].Role == ReplicaRole.Prefill && plan.Replicas[other].Role == ReplicaRole.Decode)
                {
                    text.Append(CultureInfo.InvariantCulture, $"  R{r} -. KV .-> R{other}\n");
                }
            }
        }

        return text.ToString();
    }

    /// <summary>The plan as an SVG picture: one row per replica, one box per stage, as wide as its layers.</summary>
    public static string DrawSvg(DeploymentPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        const int left = 150, width = 640, row = 46;
        int layerCount = 1;
        foreach (ReplicaPlan replica in plan.Replicas)
        {
            layerCount = Math.Max(layerCount, replica.Stages.Count == 0 ? 1 : replica.Stages[^1].Layers.End);
        }

        int height = 60 + (row * plan.Replicas.Count);
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{left + width + 20}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n");
        svg.Append("<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"10\" y=\"20\" font-size=\"14\">{Escaped($"{plan.ModelName}: {plan.Objective.Kind} {plan.Objective.Value:G4}{Certificate(plan.Objective)}")}</text>\n");
        for (int r = 0; r < plan.Replicas.Count; r++)
        {
            ReplicaPlan replica = plan.Replicas[r];
            int y = 36 + (r * row);
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"10\" y=\"{y + 16}\">{Escaped($"{replica.Name} {RoleName(replica)}")}</text>\n");
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"10\" y=\"{y + 31}\" font-size=\"10\" fill=\"#555\">{Escaped(Speed(replica))}</text>\n");
            string colour = replica.Role switch { ReplicaRole.Prefill => "#cfe3f7", ReplicaRole.Decode => "#d8efd3", _ => "#f5e3c8" };
            foreach (StagePlan stage in replica.Stages)
            {
                double x = left + ((double)width * stage.Layers.Start / layerCount), w = (double)width * stage.Layers.Count / layerCount;
                string border = replica.Bottleneck.At == stage.Device ? "#c0392b" : "#555";
                svg.Append(CultureInfo.InvariantCulture, $"<rect x=\"{x:F1}\" y=\"{y}\" width=\"{w:F1}\" height=\"36\" fill=\"{colour}\" stroke=\"{border}\"/>\n");
                svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{x + 4:F1}\" y=\"{y + 15}\">{Escaped(stage.Device)}</text>\n");
                svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{x + 4:F1}\" y=\"{y + 29}\" font-size=\"10\" fill=\"#555\">{Escaped($"{stage.Layers} {Bytes(stage.MemoryBytes)}")}</text>\n");
            }
        }

        string unused = plan.UnusedDevices.Count == 0 ? "all devices are used" : $"unused: {string.Join(", ", plan.UnusedDevices)}";
        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"10\" y=\"{height - 8}\" font-size=\"10\" fill=\"#555\">{Escaped(unused)}</text>\n</svg>\n");
        return svg.ToString();
    }

    private static string Certificate(PlanObjective objective) => objective.Proved
        ? ", proved best"
        : objective.Bound is > 0 and < double.MaxValue
            ? string.Create(CultureInfo.InvariantCulture, $", bound {objective.Bound:G4}, gap {objective.GapFraction * 100:F1} %")
            : "";

    private static string RoleName(ReplicaPlan replica) => replica.Role switch
    {
        ReplicaRole.Prefill => "prefill",
        ReplicaRole.Decode => "decode",
        _ => string.Create(CultureInfo.InvariantCulture, $"mixed ({replica.PrefillShare * 100:F0} % prefill)"),
    };

    private static string Speed(ReplicaPlan replica)
    {
        string prefill = string.Create(CultureInfo.InvariantCulture, $"prefill {replica.PrefillTokensPerSecond:F0} tokens/s");
        string decode = string.Create(CultureInfo.InvariantCulture, $"decode {replica.DecodeTokensPerSecond:F0} tokens/s, {replica.DecodeSlots} slots");
        return replica.Role switch { ReplicaRole.Prefill => prefill, ReplicaRole.Decode => decode, _ => $"{prefill}, {decode}" };
    }

    private static string Ends(StagePlan stage) => (stage.Embedding ? " +embedding" : "") + (stage.Head ? " +head" : "");

    private static string Bytes(long bytes) => bytes switch
    {
        < 10_000 => string.Create(CultureInfo.InvariantCulture, $"{bytes} B"),
        < 10_000_000 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e3:F0} kB"),
        < 10_000_000_000 => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e6:F0} MB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1e9:F1} GB"),
    };

    private static string Time(double seconds) => seconds switch
    {
        >= 1e9 => "without end",
        >= 1 => string.Create(CultureInfo.InvariantCulture, $"{seconds:F2} s"),
        >= 1e-3 => string.Create(CultureInfo.InvariantCulture, $"{seconds * 1e3:F1} ms"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{seconds * 1e6:F0} us"),
    };

    private static string Quoted(string text) => text.Replace("\"", "'", StringComparison.Ordinal);

    private static string Escaped(string text) => text
        .Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal).Replace(">", "&gt;", StringComparison.Ordinal);
}
