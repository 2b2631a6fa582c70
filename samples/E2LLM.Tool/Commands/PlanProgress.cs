using System.Globalization;
using E2LLM.Planning;

namespace E2LLM.Tool.Commands;

/// <summary>Progress of a long search on the error stream: nothing in the first second, then one line a second at most. Not thread-safe.</summary>
internal sealed class PlanProgress(TextWriter error, TimeProvider time) : IProgress<PlanningProgress>
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    private long last = time.GetTimestamp();

    public void Report(PlanningProgress value)
    {
        if (time.GetElapsedTime(last) < Pause)
        {
            return;
        }

        last = time.GetTimestamp();
        string best = value.BestValue > 0 ? string.Create(CultureInfo.InvariantCulture, $", best {value.BestValue:G4} requests/s") : "";
        string bound = value.BestValue > 0 && value.Bound < double.MaxValue ? string.Create(CultureInfo.InvariantCulture, $", bound {value.Bound:G4}") : "";
        error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{value.Phase} {Math.Floor(value.DoneFraction * 100):F0} %{best}{bound}"));
    }
}
