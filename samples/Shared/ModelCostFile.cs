using E2LLM.Costs;
using E2LLM.Gguf;
using E2LLM.Weights;

namespace E2LLM.Samples;

/// <summary>What the planner needs to know of a model, from a description in JSON or from the model itself.</summary>
internal static class ModelCostFile
{
    /// <summary>Reads either; which of them it is says the file itself.</summary>
    public static ModelCost Read(string path) => IsGguf(path) ? ReadGguf(path) : ModelCost.Parse(File.ReadAllText(path));

    /// <summary>Whether a file begins as GGUF files do.</summary>
    public static bool IsGguf(string path)
    {
        using FileStream file = File.OpenRead(path);
        Span<byte> magic = stackalloc byte[4];
        return file.ReadAtLeast(magic, 4, throwOnEndOfStream: false) == 4 && magic.SequenceEqual("GGUF"u8);
    }

    /// <summary>Bytes as the executors hold them, which may be more than those of the file.</summary>
    private static ModelCost ReadGguf(string path)
    {
        using GgufFile file = GgufFile.Open(path);
        ModelShape shape = ModelShapeReader.Read(file);
        var layers = new long[shape.LayerCount];
        for (int i = 0; i < layers.Length; i++)
        {
            layers[i] = ModelWeights.EstimateMemory(file, shape, new LayerRange(i, i + 1), embedding: false, head: false).LayerBytes;
        }

        var none = new LayerRange(0, 0);
        long embedding = ModelWeights.EstimateMemory(file, shape, none, embedding: true, head: false).EmbeddingBytes;
        long both = ModelWeights.EstimateMemory(file, shape, none, embedding: true, head: true).TotalBytes;
        return ModelCost.FromShape(shape, layers, embedding, both - embedding);
    }
}
