using System.Globalization;

namespace E2LLM.Tool.CommandLine;

/// <summary>
/// How far long work is, on the error stream: on a terminal a bar in one line, drawn over at most ten times a second and wiped at the end; elsewhere a
/// line for each new tenth and each new phase. Not thread-safe.
/// </summary>
internal sealed class ProgressBar(TextWriter error, int columns, TimeProvider time) : IDisposable
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);

    private long drawnAt;
    private int drawnLength;
    private long lastTenth = -1;
    private string lastPhase = "";

    public ProgressBar(ToolConsole console)
        : this(console.Error, console.ErrorColumns, TimeProvider.System)
    {
    }

    /// <summary>Says that <paramref name="done"/> of <paramref name="total"/> is done.</summary>
    /// <param name="done">What is done.</param>
    /// <param name="total">All there is.</param>
    /// <param name="phase">What is being done; a new one is always shown.</param>
    /// <param name="detail">What else is known.</param>
    public void Report(long done, long total, string phase, string detail = "")
    {
        bool isNewPhase = phase != lastPhase;
        lastPhase = phase;
        if (columns > 0)
        {
            if (isNewPhase || done >= total || drawnLength == 0 || time.GetElapsedTime(drawnAt) >= Pause)
            {
                Draw(total > 0 ? Math.Clamp((double)done / total, 0, 1) : 0, $"{phase}{detail}");
            }

            return;
        }

        long tenth = total > 0 ? done * 10 / total : 0;
        if (isNewPhase || tenth != lastTenth)
        {
            lastTenth = tenth;
            error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{done} of {total}: {phase}{detail}"));
        }
    }

    /// <summary>Wipes the bar, so that what follows begins in an empty line.</summary>
    public void Dispose()
    {
        if (drawnLength > 0)
        {
            error.Write($"\r{new string(' ', drawnLength)}\r");
            drawnLength = 0;
        }
    }

    private void Draw(double fraction, string text)
    {
        // One column stays free: a full line would move the cursor to the next one on some terminals.
        int width = Math.Clamp(columns / 3, 8, 40);
        int filled = (int)Math.Floor(fraction * width);
        string line = string.Create(CultureInfo.InvariantCulture, $"[{new string('#', filled)}{new string('.', width - filled)}] {fraction * 100,3:F0} %  {text}");
        line = line.Length < columns ? line : line[..(columns - 1)];
        error.Write("\r" + line.PadRight(drawnLength));
        drawnLength = line.Length;
        drawnAt = time.GetTimestamp();
    }
}
