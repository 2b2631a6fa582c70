using System.Globalization;
using System.Text;

namespace E2LLM.Tokenization.ChatTemplates;

/// <summary>The function <c>strftime_now</c>: the date of a system turn. Stateless; thread-safe.</summary>
internal static class TemplateClock
{
    /// <summary>The time in a form of C's strftime; the letters that templates use.</summary>
    public static TemplateText Format(DateTimeOffset time, string form)
    {
        var text = new StringBuilder();
        for (int i = 0; i < form.Length; i++)
        {
            if (form[i] != '%' || i + 1 == form.Length)
            {
                text.Append(form[i]);
                continue;
            }

            bool isShort = form[++i] == '-' && i + 1 < form.Length;
            char letter = isShort ? form[++i] : form[i];
            string part = letter switch
            {
                'Y' => time.ToString("yyyy", CultureInfo.InvariantCulture),
                'y' => time.ToString("yy", CultureInfo.InvariantCulture),
                'm' => time.ToString("MM", CultureInfo.InvariantCulture),
                'd' => time.ToString("dd", CultureInfo.InvariantCulture),
                'B' => time.ToString("MMMM", CultureInfo.InvariantCulture),
                'b' => time.ToString("MMM", CultureInfo.InvariantCulture),
                'A' => time.ToString("dddd", CultureInfo.InvariantCulture),
                'a' => time.ToString("ddd", CultureInfo.InvariantCulture),
                'H' => time.ToString("HH", CultureInfo.InvariantCulture),
                'I' => time.ToString("hh", CultureInfo.InvariantCulture),
                'M' => time.ToString("mm", CultureInfo.InvariantCulture),
                'S' => time.ToString("ss", CultureInfo.InvariantCulture),
                'p' => time.ToString("tt", CultureInfo.InvariantCulture),
                'j' => time.DayOfYear.ToString("000", CultureInfo.InvariantCulture),
                '%' => "%",
                _ => throw new TemplateFault($"strftime_now: '%{letter}' is not supported."),
            };
            text.Append(isShort ? part.TrimStart('0') : part);
        }

        return TemplateText.OfTemplate(text.ToString());
    }
}
