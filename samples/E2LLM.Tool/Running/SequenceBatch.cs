using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Weights;

namespace E2LLM.Tool.Running;

/// <summary>A whole model in one executor with several sequences side by side, fed with made-up ids: what a speed test needs.</summary>
internal sealed class SequenceBatch : IDisposable
{
    private const int PieceTokens = 512;
    private readonly ModelWeights weights;
    private readonly LayerRangeExecutor executor;
    private readonly KvCache[] sequences;
    private readonly SequenceSlice[] step;
    private readonly int[] ids;
    private readonly float[] hidden;
    private readonly float[] logits;

    private SequenceBatch(ModelWeights weights, LayerRangeExecutor executor, int count)
    {
        this.weights = weights;
        this.executor = executor;
        sequences = new KvCache[count];
        for (int i = 0; i < count; i++)
        {
            sequences[i] = executor.CreateSequence();
        }

        step = [.. sequences.Select(sequence => new SequenceSlice(sequence, 1))];
        int rows = Math.Max(PieceTokens, count);
        ids = new int[rows];
        hidden = new float[rows * executor.Shape.HiddenSize];
        logits = new float[count * executor.Shape.VocabularySize];
    }

    /// <summary>Number of sequences.</summary>
    public int Count => sequences.Length;

    public static SequenceBatch Load(string path, int count, int threads, KvElementType kv, int contextTokens, IProgress<LoadingProgress>? progress = null, CancellationToken ct = default)
    {
        using GgufFile file = GgufFile.Open(path);
        ModelShape shape = ModelShapeReader.Read(file);
        if (contextTokens > shape.ContextLength)
        {
            throw new ArgumentException($"{contextTokens} tokens are more than the model's context of {shape.ContextLength}.");
        }

        ModelWeights weights = ModelWeights.Load(file, shape, new LayerRange(0, shape.LayerCount), embedding: true, head: true, progress, ct);
        try
        {
            return new SequenceBatch(weights, new LayerRangeExecutor(weights, new ExecutorOptions
            {
                ThreadCount = threads,
                KvElementType = kv,
                MaxBatchTokenCount = Math.Max(PieceTokens, count),
                KvBlockCount = count * (((contextTokens - 1) / KvCacheLayout.DefaultBlockTokenCount) + 1),
            }), count);
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    public void Truncate(int length)
    {
        foreach (KvCache sequence in sequences)
        {
            sequence.Truncate(length);
        }
    }

    /// <summary>Runs as many prompt tokens through each sequence, one sequence after another, with logits at each end.</summary>
    public void Prefill(int tokens, CancellationToken ct)
    {
        int width = executor.Shape.HiddenSize;
        for (int s = 0; s < sequences.Length; s++)
        {
            for (int done = 0, count; done < tokens; done += count)
            {
                count = Math.Min(PieceTokens, tokens - done);
                Span<float> states = hidden.AsSpan(0, count * width);
                FillIds(count, done);
                executor.Embed(ids.AsSpan(0, count), states);
                executor.Forward([new SequenceSlice(sequences[s], count)], states, ct);
                if (done + count == tokens)
                {
                    executor.ComputeLogits(states[^width..], logits.AsSpan(0, executor.Shape.VocabularySize));
                }
            }
        }
    }

    /// <summary>Runs as many steps, each one token of every sequence, with logits.</summary>
    public void Decode(int steps, CancellationToken ct)
    {
        int count = sequences.Length;
        Span<float> states = hidden.AsSpan(0, count * executor.Shape.HiddenSize);
        for (int i = 0; i < steps; i++)
        {
            FillIds(count, i);
            executor.Embed(ids.AsSpan(0, count), states);
            executor.Forward(step, states, ct);
            executor.ComputeLogits(states, logits);
        }
    }

    public void Dispose()
    {
        foreach (KvCache sequence in sequences)
        {
            sequence.Dispose();
        }

        executor.Dispose();
        weights.Dispose();
    }

    /// <summary>Ids spread over the vocabulary; speed does not depend on which.</summary>
    private void FillIds(int count, int from)
    {
        for (int i = 0; i < count; i++)
        {
            ids[i] = (int)((((from + i) * 7919L) + 13) % executor.Shape.VocabularySize);
        }
    }
}
