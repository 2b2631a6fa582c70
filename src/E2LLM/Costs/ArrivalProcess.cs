namespace E2LLM.Costs;

/// <summary>How the times between requests come about.</summary>
public enum ArrivalKind
{
    /// <summary>Exponential inter-arrival times.</summary>
    Poisson,

    /// <summary>One request every <see cref="ArrivalProcess.PeriodSeconds"/>.</summary>
    Fixed,

    /// <summary>Gamma inter-arrival times of a given coefficient of variation.</summary>
    Gamma,

    /// <summary>The times of a recorded trace.</summary>
    Trace,
}

/// <summary>The arrivals of a workload. Immutable; safe to share.</summary>
public sealed record ArrivalProcess
{
    /// <summary>Which process.</summary>
    public required ArrivalKind Kind { get; init; }

    /// <summary>Mean requests per second (for a trace: after <see cref="Scale"/>).</summary>
    public required double RequestsPerSecond { get; init; }

    /// <summary>Standard deviation of inter-arrival times over their mean: 1 for Poisson, 0 for fixed, measured for a trace.</summary>
    public required double CoefficientOfVariation { get; init; }

    /// <summary>A trace's factor on the rate: 2 makes every inter-arrival time half as long. Default 1.</summary>
    public double Scale { get; init; } = 1;

    /// <summary>Arrival times of a trace in seconds from its first request, scaled; empty for the other kinds.</summary>
    public IReadOnlyList<double> TraceSeconds { get; init; } = [];

    /// <summary>Mean seconds between requests.</summary>
    public double PeriodSeconds => 1 / RequestsPerSecond;

    /// <summary>Poisson arrivals.</summary>
    public static ArrivalProcess Poisson(double requestsPerSecond) => Make(ArrivalKind.Poisson, requestsPerSecond, 1);

    /// <summary>One request every <paramref name="periodSeconds"/>.</summary>
    public static ArrivalProcess Fixed(double periodSeconds) => Make(ArrivalKind.Fixed, 1 / periodSeconds, 0);

    /// <summary>Gamma-distributed inter-arrival times.</summary>
    public static ArrivalProcess Gamma(double requestsPerSecond, double coefficientOfVariation)
    {
        if (!(double.IsFinite(coefficientOfVariation) && coefficientOfVariation > 0))
        {
            throw new ArgumentOutOfRangeException(nameof(coefficientOfVariation), coefficientOfVariation, "Must be positive and finite.");
        }

        return Make(ArrivalKind.Gamma, requestsPerSecond, coefficientOfVariation);
    }

    /// <summary>Recorded arrival times, in any order and from any origin, replayed <paramref name="scale"/> times as fast.</summary>
    /// <exception cref="ArgumentException">There are fewer than two different times.</exception>
    public static ArrivalProcess Trace(ReadOnlySpan<double> seconds, double scale = 1)
    {
        if (!(double.IsFinite(scale) && scale > 0))
        {
            throw new ArgumentOutOfRangeException(nameof(scale), scale, "Must be positive and finite.");
        }

        double[] times = seconds.ToArray();
        Array.Sort(times);
        if (times.Length < 2 || !double.IsFinite(times[0]) || !double.IsFinite(times[^1]) || times[^1] <= times[0])
        {
            throw new ArgumentException("A trace needs at least two requests at different finite times.", nameof(seconds));
        }

        double first = times[0], squares = 0;
        for (int i = 0; i < times.Length; i++)
        {
            times[i] = (times[i] - first) / scale;
        }

        double mean = times[^1] / (times.Length - 1);
        for (int i = 1; i < times.Length; i++)
        {
            double deviation = times[i] - times[i - 1] - mean;
            squares += deviation * deviation;
        }

        return Make(ArrivalKind.Trace, 1 / mean, Math.Sqrt(squares / (times.Length - 1)) / mean) with { Scale = scale, TraceSeconds = times };
    }

    private static ArrivalProcess Make(ArrivalKind kind, double rate, double variation)
    {
        if (!(double.IsFinite(rate) && rate > 0))
        {
            throw new ArgumentOutOfRangeException(nameof(rate), rate, "The request rate must be positive and finite.");
        }

        return new ArrivalProcess { Kind = kind, RequestsPerSecond = rate, CoefficientOfVariation = variation };
    }
}
