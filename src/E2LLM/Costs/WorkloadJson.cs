using System.Globalization;
using System.Text.Json;

namespace E2LLM.Costs;

/// <summary>JSON of workloads and the files they name, read by hand. Stateless.</summary>
internal static class WorkloadJson
{
    public static Workload Read(string json, Func<string, string>? readFile) => JsonObjectView.Parse(json, root =>
    {
        var workload = new Workload
        {
            Arrivals = Arrivals(root.Object("arrivals"), readFile),
            PromptTokens = Lengths(root.Object("promptTokens"), readFile),
            OutputTokens = Lengths(root.Object("outputTokens"), readFile),
            Targets = root.Has("targets") ? Targets(root.Object("targets")) : new ServiceTargets(),
        };
        root.End();
        return workload;
    });

    private static ArrivalProcess Arrivals(JsonObjectView view, Func<string, string>? readFile)
    {
        string kind = view.String("kind");
        Func<ArrivalProcess> make;
        switch (kind)
        {
            case "poisson":
                double rate = view.Number("requestsPerSecond");
                make = () => ArrivalProcess.Poisson(rate);
                break;
            case "fixed":
                double period = view.Number("periodSeconds");
                make = () => ArrivalProcess.Fixed(period);
                break;
            case "gamma":
                double gammaRate = view.Number("requestsPerSecond"), variation = view.Number("coefficientOfVariation");
                make = () => ArrivalProcess.Gamma(gammaRate, variation);
                break;
            case "trace":
                string text = File(view, readFile);
                double scale = view.Number("scale", 1);
                make = () => ArrivalProcess.Trace(TraceFile.ReadSeconds(text, view.PathOf("file")), scale);
                break;
            default:
                throw new DescriptionFormatException(view.PathOf("kind"), $"'{kind}' is none of: poisson, fixed, gamma, trace.");
        }

        view.End();
        return Checked(view, make);
    }

    private static LengthDistribution Lengths(JsonObjectView view, Func<string, string>? readFile)
    {
        string kind = view.String("kind");
        Func<LengthDistribution> make;
        switch (kind)
        {
            case "fixed":
                int value = view.Count("value");
                make = () => LengthDistribution.Fixed(value);
                break;
            case "empirical":
                string text = File(view, readFile), column = view.String("column");
                make = () => LengthDistribution.Empirical(TraceFile.ReadCounts(text, column, view.PathOf("column")));
                break;
            case "lognormal":
                double mean = view.Number("mean"), p99 = view.Number("p99");
                make = () => LengthDistribution.LogNormal(mean, p99);
                break;
            default:
                throw new DescriptionFormatException(view.PathOf("kind"), $"'{kind}' is none of: fixed, empirical, lognormal.");
        }

        view.End();
        return Checked(view, make);
    }

    private static ServiceTargets Targets(JsonObjectView view)
    {
        var targets = new ServiceTargets
        {
            TtftSeconds = Positive(view, "ttftSeconds"),
            TpotSeconds = Positive(view, "tpotSeconds"),
            Attainment = view.Number("attainment", 0.9),
            MinimumDecodeTokensPerSecond = Positive(view, "minimumDecodeTokensPerSecond"),
        };
        view.End();
        return targets.Attainment is > 0 and <= 1
            ? targets
            : throw new DescriptionFormatException(view.PathOf("attainment"), $"must be above 0 and at most 1, is {targets.Attainment}.");
    }

    private static double? Positive(JsonObjectView view, string name)
    {
        if (!view.Has(name))
        {
            return null;
        }

        double value = view.Number(name);
        return double.IsFinite(value) && value > 0
            ? value
            : throw new DescriptionFormatException(
                view.PathOf(name), $"must be positive and finite, is {value.ToString(CultureInfo.InvariantCulture)}.");
    }

    private static string File(JsonObjectView view, Func<string, string>? readFile)
    {
        string name = view.String("file");
        if (readFile is null)
        {
            throw new DescriptionFormatException(view.PathOf("file"), "files cannot be read here.");
        }

        try
        {
            return readFile(name);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new DescriptionFormatException(view.PathOf("file"), $"'{name}' cannot be read: {error.Message}", error);
        }
    }

    private static T Checked<T>(JsonObjectView view, Func<T> make)
    {
        try
        {
            return make();
        }
        catch (ArgumentException error)
        {
            throw new DescriptionFormatException(view.Path, error.Message, error);
        }
    }
}
