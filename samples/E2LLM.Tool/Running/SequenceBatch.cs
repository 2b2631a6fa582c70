using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Weights;

namespace E2LLM.Tool.Running;

/// <summary>A whole model in one executor with several sequences side by side, fed with made-up ids: what a speed test needs.</summary>
internal sealed class SequenceBatch : IDisposable
{
    private const int PieceTokens = 512;
    private readonly ModelWeights _weights;
    private readonly LayerRangeExecutor _executor;
    private readonly KvCache[] _sequences;
    private readonly SequenceSlice[] _step;
    private readonly int[] _ids;
    private readonly float[] _hidden;
    private readonly float[] _logits;

    private SequenceBatch(ModelWeights weights, LayerRangeExecutor executor, int count)
    {
        _weights = weights;
        _executor = executor;
        _sequences = new KvCache[count];
        for (int i = 0; i < count; i++)
        {
            _sequences[i] = executor.CreateSequence();
        }

        _step = [.. _sequences.Select(sequence => new SequenceSlice(sequence, 1))];
        int rows = Math.Max(PieceTokens, count);
        _ids = new int[rows];
        _hidden = new float[rows * executor.Shape.HiddenSize];
        _logits = new float[count * executor.Shape.VocabularySize];
    }

    /// <summary>Number of sequences.</summary>
    public int Count => _sequences.Length;

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
        foreach (KvCache sequence in _sequences)
        {
            sequence.Truncate(length);
        }
    }

    /// <summary>Runs as many prompt tokens through each sequence, one sequence after another, with logits at each end.</summary>
    public void Prefill(int tokens, CancellationToken ct)
    {
        int width = _executor.Shape.HiddenSize;
        for (int s = 0; s < _sequences.Length; s++)
        {
            for (int done = 0, count; done < tokens; done += count)
            {
                count = Math.Min(PieceTokens, tokens - done);
                Span<float> states = _hidden.AsSpan(0, count * width);
                FillIds(count, done);
                _executor.Embed(_ids.AsSpan(0, count), states);
                _executor.Forward([new SequenceSlice(_sequences[s], count)], states, ct);
                if (done + count == tokens)
                {
                    _executor.ComputeLogits(states[^width..], _logits.AsSpan(0, _executor.Shape.VocabularySize));
                }
            }
        }
    }

    /// <summary>Runs as many steps, each one token of every sequence, with logits.</summary>
    public void Decode(int steps, CancellationToken ct)
    {
        int count = _sequences.Length;
        Span<float> states = _hidden.AsSpan(0, count * _executor.Shape.HiddenSize);
        for (int i = 0; i < steps; i++)
        {
            FillIds(count, i);
            _executor.Embed(_ids.AsSpan(0, count), states);
            _executor.Forward(_step, states, ct);
            _executor.ComputeLogits(states, _logits);
        }
    }

    public void Dispose()
    {
        foreach (KvCache sequence in _sequences)
        {
            sequence.Dispose();
        }

        _executor.Dispose();
        _weights.Dispose();
    }

    /// <summary>Ids spread over the vocabulary; speed does not depend on which.</summary>
    private void FillIds(int count, int from)
    {
        for (int i = 0; i < count; i++)
        {
            _ids[i] = (int)((((from + i) * 7919L) + 13) % _executor.Shape.VocabularySize);
        }
    }
}
