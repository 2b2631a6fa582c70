using System.Globalization;
using E2LLM.Planning;
using E2LLM.Tool.CommandLine;

namespace E2LLM.Tool.Commands;

/// <summary>Progress of a search as a bar: how far it is, the best plan by now, and what none can pass. Not thread-safe.</summary>
internal sealed class PlanProgress(ProgressBar bar) : IProgress<PlanningProgress>
{
    public void Report(PlanningProgress value)
    {
        string best = value.BestValue > 0 ? string.Create(CultureInfo.InvariantCulture, $", best {value.BestValue:G4} requests/s") : "";
        string bound = value.BestValue > 0 && value.Bound < double.MaxValue ? string.Create(CultureInfo.InvariantCulture, $", bound {value.Bound:G4}") : "";
        bar.Report((long)(value.DoneFraction * 1000), 1000, value.Phase, best + bound);
    }
}
