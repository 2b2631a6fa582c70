using System.Globalization;

namespace E2LLM.Replicas.Report;

/// <summary>What a stage's process is told on its command line.</summary>
internal sealed record StageSettings(string Device, string ModelPath, LayerRange Layers, bool Embedding, bool Head, int ThreadCount, bool Overlaps)
{
    public static StageSettings Parse(string[] args) => new(
        args[0], args[1], new LayerRange(Int(args[2]), Int(args[3])), args[4] == "1", args[5] == "1", Int(args[6]), args[7] == "1");

    public string[] ToArguments() =>
        [Device, ModelPath, Text(Layers.Start), Text(Layers.End), Embedding ? "1" : "0", Head ? "1" : "0", Text(ThreadCount), Overlaps ? "1" : "0"];

    private static int Int(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}
