using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Weights;

namespace E2LLM.Tests.Support;

/// <summary>A model file loaded whole into one executor, with the few calls that tests make over and over.</summary>
internal sealed class TestModel : IDisposable
{
    private readonly ModelWeights _weights;

    public TestModel(string path, ExecutorOptions? options = null)
    {
        using GgufFile file = GgufFile.Open(path);
        ModelShape shape = ModelShapeReader.Read(file);
        _weights = ModelWeights.Load(file, shape, new LayerRange(0, shape.LayerCount), embedding: true, head: true);
        Executor = new LayerRangeExecutor(_weights, options ?? new ExecutorOptions { KvElementType = KvElementType.F32, ThreadCount = 1 });
    }

    public static string OwnModel(string type) => Path.Combine(Repository.PathOf("samples/models"), $"tinytales-3.9m-{type}.gguf");

    public LayerRangeExecutor Executor { get; }

    public ModelShape Shape => Executor.Shape;

    /// <summary>Hidden states after the last layer for the next tokens of a sequence.</summary>
    public float[] Hidden(KvCache sequence, ReadOnlySpan<int> ids)
    {
        float[] hidden = new float[ids.Length * Shape.HiddenSize];
        Executor.Embed(ids, hidden);
        Executor.Forward([new SequenceSlice(sequence, ids.Length)], hidden);
        return hidden;
    }

    /// <summary>Logits after the last of some tokens.</summary>
    public float[] Logits(KvCache sequence, ReadOnlySpan<int> ids)
    {
        float[] logits = new float[Shape.VocabularySize];
        Executor.ComputeLogits(Hidden(sequence, ids).AsSpan(^Shape.HiddenSize..), logits);
        return logits;
    }

    /// <summary>Logits after each of some tokens, in a fresh sequence.</summary>
    public float[] AllLogits(ReadOnlySpan<int> ids)
    {
        using KvCache sequence = Executor.CreateSequence();
        float[] logits = new float[ids.Length * Shape.VocabularySize];
        Executor.ComputeLogits(Hidden(sequence, ids), logits);
        return logits;
    }

    /// <summary>Greedy continuation, at most <paramref name="count"/> ids, ended by one of <paramref name="stops"/> (which is kept).</summary>
    public List<int> Greedy(ReadOnlySpan<int> prompt, int count, params int[] stops)
    {
        using KvCache sequence = Executor.CreateSequence();
        var ids = new List<int>();
        float[] logits = Logits(sequence, prompt);
        while (ids.Count < count)
        {
            int id = logits.AsSpan().IndexOf(logits.Max());
            ids.Add(id);
            if (stops.Contains(id) || ids.Count == count)
            {
                break;
            }

            logits = Logits(sequence, [id]);
        }

        return ids;
    }

    public void Dispose()
    {
        Executor.Dispose();
        _weights.Dispose();
    }
}
