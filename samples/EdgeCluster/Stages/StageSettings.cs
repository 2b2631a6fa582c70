using System.Globalization;
using E2LLM.Deployment;
using E2LLM.Samples.EdgeCluster.Fidelity;

namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>What a stage process is told on its command line.</summary>
internal sealed record StageSettings(string Device, string ModelPath, LayerRange Layers, bool Embedding, bool Head, long MemoryBytes, bool FreezesInKvTransfer)
{
    /// <summary>The slower device and links that it stands for; null: it is what it is.</summary>
    public Emulation? Emulation { get; init; }

    public static StageSettings Of(StagePlan stage, string modelPath, long memoryBytes, bool freezesInKvTransfer) =>
        new(stage.Device, modelPath, stage.Layers, stage.Embedding, stage.Head, memoryBytes, freezesInKvTransfer);

    public static StageSettings Parse(string[] args) => new(
        args[0], args[1], new LayerRange(Int(args[2]), Int(args[3])), args[4] == "1", args[5] == "1", long.Parse(args[6], CultureInfo.InvariantCulture), args[7] == "1")
    {
        Emulation = args.Length > 8 ? Emulation.Parse(args[8..]) : null,
    };

    public string[] ToArguments() =>
        [Device, ModelPath, Text(Layers.Start), Text(Layers.End), Embedding ? "1" : "0", Head ? "1" : "0", Text(MemoryBytes), FreezesInKvTransfer ? "1" : "0", .. Emulation?.ToArguments() ?? []];

    private static int Int(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);
}
