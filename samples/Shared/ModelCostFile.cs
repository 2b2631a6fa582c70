using E2LLM.Costs;
using E2LLM.Profiling;

namespace E2LLM.Samples;

/// <summary>What the planner needs to know of a model, from a description in JSON or from the model itself.</summary>
internal static class ModelCostFile
{
    /// <summary>Reads either; which of them it is says the file itself.</summary>
    public static ModelCost Read(string path) => IsGguf(path) ? ModelCostReader.Read(path) : ModelCost.Load(path);

    /// <summary>Whether a file begins as GGUF files do.</summary>
    public static bool IsGguf(string path)
    {
        using FileStream file = File.OpenRead(path);
        Span<byte> magic = stackalloc byte[4];
        return file.ReadAtLeast(magic, 4, throwOnEndOfStream: false) == 4 && magic.SequenceEqual("GGUF"u8);
    }
}
