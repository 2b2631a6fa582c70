using System.Globalization;
using E2LLM.Planning;
using E2LLM.Tool.CommandLine;

namespace E2LLM.Tool.Commands;

/// <summary>
/// Progress of a long search on the error stream: nothing in the first second, then a bar on a terminal, elsewhere one line a second at most. Not thread-safe.
/// </summary>
internal sealed class PlanProgress(TextWriter error, TimeProvider time, ProgressBar? bar = null) : IProgress<PlanningProgress>
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    private long last = time.GetTimestamp();
    private bool isShown;

    public void Report(PlanningProgress value)
    {
        // A bar that is up limits itself.
        if (time.GetElapsedTime(last) < Pause && !isShown)
        {
            return;
        }

        last = time.GetTimestamp();
        isShown = bar is not null;
        string best = value.BestValue > 0 ? string.Create(CultureInfo.InvariantCulture, $", best {value.BestValue:G4} requests/s") : "";
        string bound = value.BestValue > 0 && value.Bound < double.MaxValue ? string.Create(CultureInfo.InvariantCulture, $", bound {value.Bound:G4}") : "";
        if (bar is not null)
        {
            bar.Report((long)(value.DoneFraction * 1000), 1000, value.Phase, best + bound);
            return;
        }

        error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{value.Phase} {Math.Floor(value.DoneFraction * 100):F0} %{best}{bound}"));
    }
}
