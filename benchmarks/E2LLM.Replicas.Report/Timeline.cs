using System.Diagnostics;

namespace E2LLM.Replicas.Report;

/// <summary>What a stage says of its steps: processor seconds of its process since it started, and timestamps.</summary>
internal sealed record StageSteps(double ProcessorSeconds, List<(long Start, long End)> Steps);

/// <summary>Where the time of a pipeline goes: how long stages compute, and how long the next step takes to reach a stage that waits for it.</summary>
internal static class Timeline
{
    /// <summary>One line about the steps of all stages of one run, in the order of the chain; the first and last tenth are left out.</summary>
    public static string Describe(StageSteps[] before, StageSteps[] after, double dispatcherSeconds)
    {
        List<(long Start, long End)>[] stages = [.. after.Select(stage => stage.Steps)];
        int count = stages.Min(steps => steps.Count), skip = count / 10;
        if (count - (2 * skip) < 8)
        {
            return "too few steps";
        }

        var parts = new List<string>();
        for (int stage = 0; stage < stages.Length; stage++)
        {
            List<(long Start, long End)> steps = stages[stage];
            var work = new List<double>();
            var idle = new List<double>();
            var late = new List<double>();
            for (int i = skip; i < count - skip; i++)
            {
                work.Add(Milliseconds(steps[i].Start, steps[i].End));
                idle.Add(Milliseconds(steps[i - 1].End, steps[i].Start));
                if (stage > 0 && stages[stage - 1][i].End > steps[i - 1].End)
                {
                    // The stage was waiting when its predecessor was done: all that follows is the way from one to the other.
                    late.Add(Milliseconds(stages[stage - 1][i].End, steps[i].Start));
                }
                else if (stage == 0 && i >= stages.Length && stages[^1][i - stages.Length].End > steps[i - 1].End)
                {
                    late.Add(Milliseconds(stages[^1][i - stages.Length].End, steps[i].Start));
                }
            }

            string way = late.Count == 0 ? "never waited for" : $"{late.Count} of {work.Count} steps waited for, their way {Serving.Median(late):F2} ms (mean {late.Average():F2}, longest {late.Max():F2})";
            double beside = after[stage].ProcessorSeconds - before[stage].ProcessorSeconds - steps.Sum(step => Milliseconds(step.Start, step.End) / 1000);
            parts.Add($"stage {stage}: work {Serving.Median(work):F2} ms (mean {work.Average():F2}), idle mean {idle.Average():F2}, processor time beside {beside * 1000 / steps.Count:F2}, {way}");
        }

        parts.Add($"dispatcher: processor time {dispatcherSeconds * 1000 / count:F2} ms a step");

        return string.Join("; ", parts);
    }

    private static double Milliseconds(long from, long to) => (to - from) * 1000.0 / Stopwatch.Frequency;
}
