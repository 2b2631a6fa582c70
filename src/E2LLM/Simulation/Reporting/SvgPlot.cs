using System.Globalization;
using System.Net;
using System.Text;

namespace E2LLM.Simulation.Reporting;

/// <summary>One line of a plot.</summary>
internal sealed record PlotSeries(string Name, IReadOnlyList<(double X, double Y)> Points);

/// <summary>Line plots as SVG text: axes with round ticks, a legend, nothing else. Immutable.</summary>
internal sealed record SvgPlot(string Title, string XLabel, string YLabel, IReadOnlyList<PlotSeries> Series)
{
    private const int Width = 720, Height = 420, Left = 80, Right = 180, Top = 40, Bottom = 55;

    // Okabe and Ito's colours, told apart by most eyes.
    private static readonly string[] Colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999"];

    /// <summary>Logarithmic axes.</summary>
    public bool LogX { get; init; }

    /// <summary>Logarithmic y axis.</summary>
    public bool LogY { get; init; }

    /// <summary>The SVG document.</summary>
    public string ToSvg()
    {
        (double X, double Y)[] all = [.. Series.SelectMany(s => s.Points).Where(Shown)];
        (double Low, double High) x = Range(all.Select(p => p.X), LogX), y = Range(all.Select(p => p.Y), LogY);
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {Height}\" width=\"{Width}\" height=\"{Height}\" font-family=\"sans-serif\" font-size=\"12\">\n");
        svg.Append(CultureInfo.InvariantCulture, $"<rect width=\"{Width}\" height=\"{Height}\" fill=\"white\"/>\n<text x=\"{Left}\" y=\"22\" font-size=\"15\">{WebUtility.HtmlEncode(Title)}</text>\n");
        foreach (double tick in Ticks(x, LogX))
        {
            double at = ScaleX(tick, x);
            svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{at:F1}\" y1=\"{Top}\" x2=\"{at:F1}\" y2=\"{Height - Bottom}\" stroke=\"#ddd\"/><text x=\"{at:F1}\" y=\"{Height - Bottom + 16}\" text-anchor=\"middle\">{tick:G4}</text>\n");
        }

        foreach (double tick in Ticks(y, LogY))
        {
            double at = ScaleY(tick, y);
            svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{Left}\" y1=\"{at:F1}\" x2=\"{Width - Right}\" y2=\"{at:F1}\" stroke=\"#ddd\"/><text x=\"{Left - 6}\" y=\"{at + 4:F1}\" text-anchor=\"end\">{tick:G4}</text>\n");
        }

        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{(Left + Width - Right) / 2}\" y=\"{Height - 14}\" text-anchor=\"middle\">{WebUtility.HtmlEncode(XLabel)}</text>\n");
        svg.Append(CultureInfo.InvariantCulture, $"<text transform=\"translate(18 {(Top + Height - Bottom) / 2}) rotate(-90)\" text-anchor=\"middle\">{WebUtility.HtmlEncode(YLabel)}</text>\n");
        for (int i = 0; i < Series.Count; i++)
        {
            string colour = Colours[i % Colours.Length];
            string points = string.Join(' ', Series[i].Points.Where(Shown).Select(p =>
                string.Create(CultureInfo.InvariantCulture, $"{ScaleX(p.X, x):F1},{ScaleY(p.Y, y):F1}")));
            int row = Top + 10 + (18 * i);
            svg.Append(CultureInfo.InvariantCulture, $"<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n");
            svg.Append(CultureInfo.InvariantCulture, $"<line x1=\"{Width - Right + 12}\" y1=\"{row}\" x2=\"{Width - Right + 34}\" y2=\"{row}\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{Width - Right + 40}\" y=\"{row + 4}\">{WebUtility.HtmlEncode(Series[i].Name)}</text>\n");
        }

        return svg.Append("</svg>\n").ToString();
    }

    private bool Shown((double X, double Y) point) =>
        double.IsFinite(point.X) && double.IsFinite(point.Y) && (!LogX || point.X > 0) && (!LogY || point.Y > 0);

    private static (double Low, double High) Range(IEnumerable<double> values, bool log)
    {
        double[] all = [.. values];
        if (all.Length == 0)
        {
            return (log ? 0.1 : 0, 1);
        }

        double low = all.Min(), high = all.Max();
        if (log)
        {
            return (Math.Pow(10, Math.Floor(Math.Log10(low))), Math.Pow(10, Math.Max(Math.Ceiling(Math.Log10(high)), Math.Floor(Math.Log10(low)) + 1)));
        }

        low = Math.Min(0, low);
        return (low, high > low ? low + ((high - low) * 1.05) : low + 1);
    }

    private static IEnumerable<double> Ticks((double Low, double High) range, bool log)
    {
        if (log)
        {
            for (double tick = range.Low; tick <= range.High * 1.001; tick *= 10)
            {
                yield return tick;
            }

            yield break;
        }

        double rough = (range.High - range.Low) / 6, unit = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        double step = unit * (rough / unit < 1.5 ? 1 : rough / unit < 3.5 ? 2 : rough / unit < 7.5 ? 5 : 10);
        for (double tick = Math.Ceiling(range.Low / step) * step; tick <= range.High; tick += step)
        {
            yield return Math.Round(tick / step) * step;
        }
    }

    private double ScaleX(double value, (double Low, double High) range) => Left + (Share(value, range, LogX) * (Width - Right - Left));

    private double ScaleY(double value, (double Low, double High) range) => Height - Bottom - (Share(value, range, LogY) * (Height - Bottom - Top));

    private static double Share(double value, (double Low, double High) range, bool log) => log
        ? Math.Log(value / range.Low) / Math.Log(range.High / range.Low)
        : (value - range.Low) / (range.High - range.Low);
}
