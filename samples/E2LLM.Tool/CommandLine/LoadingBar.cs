using E2LLM.Weights;

namespace E2LLM.Tool.CommandLine;

/// <summary>How far a model is loaded, where that takes longer than a second.</summary>
internal sealed class LoadingBar(ProgressBar bar, TimeProvider time) : IProgress<LoadingProgress>
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);
    private readonly long startedAt = time.GetTimestamp();

    /// <summary>Loads something; the bar is gone afterwards.</summary>
    public static T While<T>(ToolConsole console, Func<IProgress<LoadingProgress>, T> load)
    {
        using var bar = new ProgressBar(console);
        return load(new LoadingBar(bar, TimeProvider.System));
    }

    public void Report(LoadingProgress value)
    {
        if (time.GetElapsedTime(startedAt) >= Patience)
        {
            bar.Report(value.DoneBytes >> 20, value.TotalBytes >> 20, "MiB loaded");
        }
    }
}
