using System.Globalization;
using E2LLM.Weights;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>Says on the error stream how far a device is with its layers, where that takes long: a line every five seconds.</summary>
internal sealed class LoadingLines(string device, LayerRange layers) : IProgress<LoadingProgress>
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(5);
    private long _toldAt = TimeProvider.System.GetTimestamp();

    public void Report(LoadingProgress value)
    {
        if (TimeProvider.System.GetElapsedTime(_toldAt) >= Pause && value.DoneBytes < value.TotalBytes)
        {
            _toldAt = TimeProvider.System.GetTimestamp();
            Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{device} has {value.DoneFraction:P0} of layers {layers}."));
        }
    }
}
