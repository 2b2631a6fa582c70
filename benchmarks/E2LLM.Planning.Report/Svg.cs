using System.Globalization;
using System.Text;

namespace E2LLM.Planning.Report;

/// <summary>Plain line and bar pictures.</summary>
internal static class Svg
{
    public static string Line(string title, IReadOnlyList<(double X, double Y)> points)
    {
        const int width = 560, height = 280, left = 60, bottom = 240;
        double maxX = points.Max(point => point.X), minX = points.Min(point => point.X), maxY = points.Max(point => point.Y);
        var svg = Start(title, width, height);
        var path = new StringBuilder();
        foreach ((double x, double y) in points)
        {
            double px = left + ((x - minX) / Math.Max(1e-9, maxX - minX) * (width - left - 30)), py = bottom - (y / maxY * (bottom - 50));
            path.Append(CultureInfo.InvariantCulture, $"{(path.Length == 0 ? 'M' : 'L')}{px:F1} {py:F1} ");
            svg.Append(CultureInfo.InvariantCulture, $"<circle cx=\"{px:F1}\" cy=\"{py:F1}\" r=\"3\" fill=\"#2c6fbb\"/><text x=\"{px - 8:F1}\" y=\"{py - 8:F1}\">{y:G2}</text><text x=\"{px - 6:F1}\" y=\"{bottom + 16}\">{x:G4}</text>\n");
        }

        svg.Append(CultureInfo.InvariantCulture, $"<path d=\"{path}\" fill=\"none\" stroke=\"#2c6fbb\"/>\n<line x1=\"{left}\" y1=\"{bottom}\" x2=\"{width - 20}\" y2=\"{bottom}\" stroke=\"#555\"/>\n</svg>\n");
        return svg.ToString();
    }

    public static string Bars(string title, IReadOnlyList<(string Name, double Value)> bars)
    {
        const int width = 560;
        int height = 50 + (22 * bars.Count);
        double most = Math.Max(1e-9, bars.Max(bar => bar.Value));
        var svg = Start(title, width, height);
        for (int i = 0; i < bars.Count; i++)
        {
            int y = 38 + (22 * i);
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"10\" y=\"{y + 12}\">{bars[i].Name}</text><rect x=\"150\" y=\"{y}\" width=\"{bars[i].Value / most * 330:F1}\" height=\"16\" fill=\"#7fb3e0\"/>");
            svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{155 + (bars[i].Value / most * 330):F1}\" y=\"{y + 12}\">{bars[i].Value:G3}</text>\n");
        }

        return svg.Append("</svg>\n").ToString();
    }

    private static StringBuilder Start(string title, int width, int height)
    {
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
        return svg.Append(CultureInfo.InvariantCulture, $"<text x=\"10\" y=\"20\" font-size=\"13\">{title}</text>\n");
    }
}
