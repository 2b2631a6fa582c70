using E2LLM.Costs;
using E2LLM.Gguf;
using E2LLM.Weights;

namespace E2LLM.Profiling;

/// <summary>Reads from a GGUF file what the planner and the simulator need to know of a model. No tensor is read. Stateless; thread-safe.</summary>
public static class ModelCostReader
{
    /// <summary>Reads the file of that name.</summary>
    /// <inheritdoc cref="Read(GgufFile, KvElementType)"/>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static ModelCost Read(string path, KvElementType kvElementType = KvElementType.F16)
    {
        using GgufFile file = GgufFile.Open(path);
        return Read(file, kvElementType);
    }

    /// <summary>Reads an open file. Bytes are those that executors hold, which may be more than those of the file.</summary>
    /// <param name="file">A whole model.</param>
    /// <param name="kvElementType">How keys and values will be stored.</param>
    /// <exception cref="GgufFormatException">The file is broken.</exception>
    /// <exception cref="NotSupportedException">The model is not supported.</exception>
    public static ModelCost Read(GgufFile file, KvElementType kvElementType = KvElementType.F16)
    {
        ArgumentNullException.ThrowIfNull(file);
        ModelShape shape = ModelShapeReader.Read(file);
        var layers = new long[shape.LayerCount];
        for (int i = 0; i < layers.Length; i++)
        {
            layers[i] = ModelWeights.EstimateMemory(file, shape, new LayerRange(i, i + 1), embedding: false, head: false).LayerBytes;
        }

        var none = new LayerRange(0, 0);
        long embedding = ModelWeights.EstimateMemory(file, shape, none, embedding: true, head: false).EmbeddingBytes;
        long both = ModelWeights.EstimateMemory(file, shape, none, embedding: true, head: true).TotalBytes;
        return ModelCost.FromShape(shape, layers, embedding, both - embedding, kvElementType);
    }
}
