using System.Globalization;

namespace E2LLM.Samples.EdgeCluster.Output;

/// <summary>What each request cost.</summary>
internal static class ResultTable
{
    private static readonly string[] Head = ["request", "prompt", "output", "prefill", "decode", "TTFT", "TPOT", "tokens/s", "KV moved"];

    public static void Write(TextWriter output, IReadOnlyList<DemoResult> results)
    {
        var rows = new List<string[]> { Head };
        rows.AddRange(results.Select(Row));
        int[] widths = [.. Head.Select((_, column) => rows.Max(row => row[column].Length))];
        foreach (string[] row in rows)
        {
            output.WriteLine("  " + string.Join("  ", row.Select((cell, column) => column == 0 ? cell.PadRight(widths[0]) : cell.PadLeft(widths[column]))));
        }

        output.WriteLine();
        output.WriteLine($"  {results.Sum(result => result.Ids.Count)} tokens for {results.Count} requests; "
            + $"{results.Sum(result => result.Report.KvTransferBytes):N0} bytes of keys and values moved between replicas.");
        output.WriteLine("  Times are of these processes side by side on this machine; the plan's are of the devices that it describes.");
    }

    private static string[] Row(DemoResult result) =>
    [
        $"{result.Request.Name} {(result.Request.Sampling.Temperature > 0 ? "sampled" : "greedy")}",
        Text($"{result.Request.PromptIds.Count}"),
        Text($"{result.Ids.Count}"),
        result.Report.PrefillReplica ?? "-",
        result.Report.DecodeReplica ?? "-",
        Text($"{result.Report.TtftSeconds * 1e3:F0} ms"),
        result.Ids.Count > 1 ? Text($"{result.Report.TpotSeconds * 1e3:F1} ms") : "-",
        result.Ids.Count > 1 ? Text($"{1 / result.Report.TpotSeconds:F0}") : "-",
        Text($"{result.Report.KvTransferBytes / 1024.0:F0} KiB"),
    ];

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
