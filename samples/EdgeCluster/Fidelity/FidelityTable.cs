using System.Globalization;
using E2LLM.Simulation;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>Predicted beside measured, as a Markdown table. Waiting of a request is its end-to-end time minus that of requests of the same lengths served alone.</summary>
internal static class FidelityTable
{
    // Requests that are shown one by one.
    private const int ShownCount = 10;

    public static void Write(TextWriter output, ServingReport predicted, ServingReport predictedAlone, IReadOnlyList<MeasuredRequest> alone, IReadOnlyList<MeasuredRequest> loaded, double cores)
    {
        Dictionary<(int, int), double> first = alone.GroupBy(one => (one.PromptTokens, one.OutputTokens)).ToDictionary(group => group.Key, group => Median(group.Select(one => one.TtftSeconds)));
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
        Row("TTFT of a request alone, mean", predictedAlone.TtftSeconds.Mean, loaded.Average(one => first[(one.PromptTokens, one.OutputTokens)]));
        Row("end-to-end of a request alone, mean", predictedAlone.EndToEndSeconds.Mean, loaded.Average(one => service[(one.PromptTokens, one.OutputTokens)]));
        output.WriteLine();
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Mean error, (|TTFT| + |TPOT| + |waiting|) / 3 of the errors of the three means: {errors.Average():P1}. All stages together used {cores:F2} cores."));
        WriteSome(output, predicted, predictedAlone, loaded, waits);

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

    // Single requests, spread over the run: predicted / measured.
    private static void WriteSome(TextWriter output, ServingReport predicted, ServingReport predictedAlone, IReadOnlyList<MeasuredRequest> loaded, double[] waits)
    {
        CompletedRequest[] times = [.. predicted.Requests.OrderBy(request => request.Id)], alone = [.. predictedAlone.Requests.OrderBy(request => request.Id)];
        output.WriteLine();
        output.WriteLine("| request | prompt + output | TTFT, predicted / measured | TPOT | waiting |");
        output.WriteLine("|---|---|---|---|---|");
        for (int i = 0; i < times.Length; i += times.Length / ShownCount)
        {
            CompletedRequest one = times[i];
            double begin = one.Request.ArrivalSeconds, waiting = one.EndSeconds - begin - (alone[i].EndSeconds - alone[i].Request.ArrivalSeconds);
            double tpot = (one.EndSeconds - one.FirstTokenSeconds) / (one.Request.OutputTokens - 1);
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| {i} | {one.Request.PromptTokens} + {one.Request.OutputTokens} | {one.FirstTokenSeconds - begin:F3} / {loaded[i].TtftSeconds:F3} | {tpot:F4} / {loaded[i].TpotSeconds:F4} | {waiting:F3} / {waits[i]:F3} |"));
        }
    }

    private static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}
