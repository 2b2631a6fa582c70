namespace E2LLM.Costs;

/// <summary>
/// A distribution of token counts: fixed, empirical or log-normal. Immutable; safe to share. Sampling is by inversion, so the
/// caller owns the random numbers. Counts are whole and at least 1.
/// </summary>
public sealed class LengthDistribution
{
    // A log-normal is represented by its quantiles at the midpoints of this many equal slices of probability.
    private const int SliceCount = 4096;
    private readonly int[] _sorted;

    private LengthDistribution(string kind, int[] sorted)
    {
        Kind = kind;
        _sorted = sorted;
        double sum = 0, squares = 0;
        foreach (int value in sorted)
        {
            sum += value;
            squares += (double)value * value;
        }

        Mean = sum / sorted.Length;
        SecondMoment = squares / sorted.Length;
    }

    /// <summary><c>fixed</c>, <c>empirical</c> or <c>lognormal</c>.</summary>
    public string Kind { get; }

    /// <summary>Mean token count.</summary>
    public double Mean { get; }

    /// <summary>Mean of the squared token count.</summary>
    public double SecondMoment { get; }

    /// <summary>Smallest token count.</summary>
    public int Min => _sorted[0];

    /// <summary>Largest token count.</summary>
    public int Max => _sorted[^1];

    /// <summary>Squared coefficient of variation: variance over squared mean.</summary>
    public double SquaredVariation => Math.Max(0, (SecondMoment / (Mean * Mean)) - 1);

    /// <summary>Every value with equal weight, ascending: what the distribution is made of.</summary>
    public ReadOnlySpan<int> Values => _sorted;

    /// <summary>Always <paramref name="tokens"/>.</summary>
    public static LengthDistribution Fixed(int tokens)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(tokens, 1);
        return new LengthDistribution("fixed", [tokens]);
    }

    /// <summary>Each of <paramref name="values"/> equally likely; values below 1 count as 1.</summary>
    /// <exception cref="ArgumentException">There are no values.</exception>
    public static LengthDistribution Empirical(ReadOnlySpan<int> values)
    {
        if (values.IsEmpty)
        {
            throw new ArgumentException("An empirical distribution needs at least one value.", nameof(values));
        }

        int[] copy = values.ToArray();
        for (int i = 0; i < copy.Length; i++)
        {
            copy[i] = Math.Max(1, copy[i]);
        }

        Array.Sort(copy);
        return new LengthDistribution("empirical", copy);
    }

    /// <summary>
    /// Log-normal with the given mean and 99th percentile: <c>mu = ln mean - s^2/2</c>, <c>ln p99 = mu + 2.3263 s</c>, the smaller root
    /// <c>s = z - sqrt(z^2 - 2 ln(p99/mean))</c>, which exists up to <c>p99/mean = exp(z^2/2) = 14.97</c>.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">The mean is below 1, or the percentile is below the mean or too far above it.</exception>
    public static LengthDistribution LogNormal(double mean, double p99)
    {
        const double z = 2.3263478740408408;
        if (!(mean >= 1 && mean <= int.MaxValue / 64))
        {
            throw new ArgumentOutOfRangeException(nameof(mean), mean, "The mean must be at least 1 and sensible.");
        }

        double spread = Math.Log(p99 / mean), root = (z * z) - (2 * spread);
        if (!(p99 >= mean && root >= 0))
        {
            throw new ArgumentOutOfRangeException(nameof(p99), p99, $"No log-normal of mean {mean} has this 99th percentile (from 1 to 14.9 times the mean).");
        }

        double sigma = z - Math.Sqrt(root), mu = Math.Log(mean) - (sigma * sigma / 2);
        var values = new int[SliceCount];
        for (int i = 0; i < SliceCount; i++)
        {
            double value = Math.Exp(mu + (sigma * NormalQuantile((i + 0.5) / SliceCount)));
            values[i] = Math.Max(1, (int)Math.Round(Math.Min(value, int.MaxValue / 2)));
        }

        return new LengthDistribution("lognormal", values);
    }

    /// <summary>The value below which the share <paramref name="probability"/> (0 to 1) lies: inversion sampling when that is uniform.</summary>
    public int Quantile(double probability)
    {
        int index = (int)(Math.Clamp(probability, 0, 1) * _sorted.Length);
        return _sorted[Math.Min(index, _sorted.Length - 1)];
    }

    // Acklam's rational approximation of the inverse normal distribution function, relative error below 1.15e-9 (P. J. Acklam, 2003).
    private static double NormalQuantile(double p)
    {
        ReadOnlySpan<double> a = [-3.969683028665376e+01, 2.209460984245205e+02, -2.759285104469687e+02, 1.383577518672690e+02, -3.066479806614716e+01, 2.506628277459239e+00];
        ReadOnlySpan<double> b = [-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02, 6.680131188771972e+01, -1.328068155288572e+01];
        ReadOnlySpan<double> c = [-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00, -2.549732539343734e+00, 4.374664141464968e+00, 2.938163982698783e+00];
        ReadOnlySpan<double> d = [7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00];
        if (p < 0.02425)
        {
            double q = Math.Sqrt(-2 * Math.Log(p));
            return Tail(q, c, d);
        }

        if (p > 1 - 0.02425)
        {
            double q = Math.Sqrt(-2 * Math.Log(1 - p));
            return -Tail(q, c, d);
        }

        double x = p - 0.5, r = x * x;
        return ((((((((((a[0] * r) + a[1]) * r) + a[2]) * r) + a[3]) * r) + a[4]) * r) + a[5]) * x
            / ((((((((((b[0] * r) + b[1]) * r) + b[2]) * r) + b[3]) * r) + b[4]) * r) + 1);
    }

    private static double Tail(double q, ReadOnlySpan<double> c, ReadOnlySpan<double> d) =>
        ((((((((((c[0] * q) + c[1]) * q) + c[2]) * q) + c[3]) * q) + c[4]) * q) + c[5])
        / ((((((((d[0] * q) + d[1]) * q) + d[2]) * q) + d[3]) * q) + 1);
}
