using System.Globalization;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>Predicted beside measured, as a Markdown table. Waiting of a request is its end-to-end time beyond that of requests of the same lengths alone on the best route.</summary>
internal static class FidelityTable
{
    // Requests that are shown one by one.
    private const int ShownCount = 10;

    public static void Write(
        TextWriter output, IReadOnlyList<MeasuredRequest> predicted, AloneRoutes predictedAlone, IReadOnlyList<MeasuredRequest> measured, AloneRoutes measuredAlone, double cores)
    {
        double[] expectedWaits = Waits(predicted, predictedAlone), waits = Waits(measured, measuredAlone);
        var errors = new List<double>();
        output.WriteLine();
        output.WriteLine("| seconds | predicted | measured | error |");
        output.WriteLine("|---|---|---|---|");
        Row("TTFT, mean", predicted.Average(one => one.TtftSeconds), measured.Average(one => one.TtftSeconds), counts: true);
        Row("TPOT, mean", predicted.Average(one => one.TpotSeconds), measured.Average(one => one.TpotSeconds), counts: true);
        Row("waiting, mean", expectedWaits.Average(), waits.Average(), counts: true);
        Row("end-to-end, mean", predicted.Average(one => one.EndToEndSeconds), measured.Average(one => one.EndToEndSeconds));
        Row("TTFT, median", Median(predicted.Select(one => one.TtftSeconds)), Median(measured.Select(one => one.TtftSeconds)));
        Row("TPOT, median", Median(predicted.Select(one => one.TpotSeconds)), Median(measured.Select(one => one.TpotSeconds)));
        Row("TTFT of a request alone, mean", predicted.Average(one => predictedAlone[one].TtftSeconds), measured.Average(one => measuredAlone[one].TtftSeconds));
        Row("end-to-end of a request alone, mean", predicted.Average(one => predictedAlone[one].EndToEndSeconds), measured.Average(one => measuredAlone[one].EndToEndSeconds));
        output.WriteLine();
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Mean error, (|TTFT| + |TPOT| + |waiting|) / 3 of the errors of the three means: {errors.Average():P1}. All stages together used {cores:F2} cores."));
        WriteSome(output, predicted, expectedWaits, measured, waits);

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

    private static double[] Waits(IReadOnlyList<MeasuredRequest> requests, AloneRoutes alone) => [.. requests.Select(one => one.EndToEndSeconds - alone[one].EndToEndSeconds)];

    // Single requests, spread over the run: predicted / measured.
    private static void WriteSome(
        TextWriter output, IReadOnlyList<MeasuredRequest> predicted, double[] expectedWaits, IReadOnlyList<MeasuredRequest> measured, double[] waits)
    {
        output.WriteLine();
        output.WriteLine("| request | prompt + output | TTFT, predicted / measured | TPOT | waiting |");
        output.WriteLine("|---|---|---|---|---|");
        for (int i = 0; i < predicted.Count; i += predicted.Count / ShownCount)
        {
            MeasuredRequest one = predicted[i], other = measured[i];
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| {i} | {one.PromptTokens} + {one.OutputTokens} | {one.TtftSeconds:F3} / {other.TtftSeconds:F3} | {one.TpotSeconds:F4} / {other.TpotSeconds:F4} | {expectedWaits[i]:F3} / {waits[i]:F3} |"));
        }
    }

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}
