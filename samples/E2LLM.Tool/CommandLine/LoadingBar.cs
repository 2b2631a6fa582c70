using E2LLM.Weights;

namespace E2LLM.Tool.CommandLine;

/// <summary>How far a model is loaded, where that takes longer than a second.</summary>
internal sealed class LoadingBar(ProgressBar bar) : IProgress<LoadingProgress>
{
    /// <summary>Loads something; the bar is gone afterwards.</summary>
    public static T While<T>(ToolConsole console, Func<IProgress<LoadingProgress>, T> load)
    {
        using var bar = new ProgressBar(console, isPatient: true);
        return load(new LoadingBar(bar));
    }

    public void Report(LoadingProgress value) => bar.Report(value.DoneBytes >> 20, value.TotalBytes >> 20, "MiB loaded");
}
