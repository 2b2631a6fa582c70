using System.Globalization;
using E2LLM.Simulation;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>Predicted beside measured, as a Markdown table. Waiting of a request is its end-to-end time minus that of requests of the same lengths served alone.</summary>
internal static class FidelityTable
{
    public static void Write(TextWriter output, ServingReport predicted, ServingReport predictedAlone, IReadOnlyList<MeasuredRequest> alone, IReadOnlyList<MeasuredRequest> loaded, double cores)
    {
        Dictionary<(int, int), double> service = alone.GroupBy(one => (one.PromptTokens, one.OutputTokens)).ToDictionary(group => group.Key, group => Median(group.Select(one => one.EndToEndSeconds)));
        double[] waits = [.. loaded.Select(one => one.EndToEndSeconds - service[(one.PromptTokens, one.OutputTokens)])];
        var errors = new List<double>();
        output.WriteLine();
        output.WriteLine("| seconds | predicted | measured | error |");
        output.WriteLine("|---|---|---|---|");
        Row("TTFT, mean", predicted.TtftSeconds.Mean, loaded.Average(one => one.TtftSeconds), counts: true);
        Row("TPOT, mean", predicted.TpotSeconds.Mean, loaded.Average(one => one.TpotSeconds), counts: true);
        Row("waiting, mean", predicted.EndToEndSeconds.Mean - predictedAlone.EndToEndSeconds.Mean, waits.Average(), counts: true);
        Row("end-to-end, mean", predicted.EndToEndSeconds.Mean, loaded.Average(one => one.EndToEndSeconds));
        Row("TTFT, median", predicted.TtftSeconds.P50, Median(loaded.Select(one => one.TtftSeconds)));
        Row("TPOT, median", predicted.TpotSeconds.P50, Median(loaded.Select(one => one.TpotSeconds)));
        Row("TTFT of a request alone, mean", predictedAlone.TtftSeconds.Mean, alone.Average(one => one.TtftSeconds));
        Row("end-to-end of a request alone, mean", predictedAlone.EndToEndSeconds.Mean, loaded.Average(one => service[(one.PromptTokens, one.OutputTokens)]));
        output.WriteLine();
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Mean error of TTFT, TPOT and waiting: {errors.Average():P1}. All stages together used {cores:F2} cores."));

        void Row(string name, double expected, double actual, bool counts = false)
        {
            double error = (expected - actual) / actual;
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {name} | {expected:F4} | {actual:F4} | {error:+0.0%;-0.0%;0.0%} |"));
            if (counts)
            {
                errors.Add(Math.Abs(error));
            }
        }
    }

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}
