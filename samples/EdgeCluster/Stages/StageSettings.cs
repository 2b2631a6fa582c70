using System.Globalization;
using E2LLM.Samples.EdgeCluster.Fidelity;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>What a device's process is told on its command line: who it is and where the host gives out weights. No file, no layers.</summary>
internal sealed record StageSettings(string Device, long MemoryBytes, int WeightPort, bool FreezesInKvTransfer)
{
    /// <summary>The slower device and links that it stands for; null: it is what it is.</summary>
    public Emulation? Emulation { get; init; }

    public static StageSettings Parse(string[] args) => new(
        args[0], long.Parse(args[1], CultureInfo.InvariantCulture), int.Parse(args[2], CultureInfo.InvariantCulture), args[3] == "1")
    {
        Emulation = args.Length > 4 ? Emulation.Parse(args[4..]) : null,
    };

    public string[] ToArguments() => [Device, Text(MemoryBytes), Text(WeightPort), FreezesInKvTransfer ? "1" : "0", .. Emulation?.ToArguments() ?? []];

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);
}
