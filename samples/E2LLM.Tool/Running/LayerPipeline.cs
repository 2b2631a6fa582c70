using E2LLM.Execution;
using E2LLM.Gguf;
using E2LLM.KvCaching;
using E2LLM.Weights;

namespace E2LLM.Tool.Running;

/// <summary>Which positions of an appended piece get logits.</summary>
internal enum LogitRows
{
    None,
    Last,
    All,
}

/// <summary>Takes the logits of one position.</summary>
internal delegate void LogitRow(ReadOnlySpan<float> row);

/// <summary>
/// A whole model as consecutive executors, cut at any layers, and one sequence through all of them: what a pipeline of devices does,
/// in one process.
/// </summary>
internal sealed class LayerPipeline : IDisposable
{
    private const int PieceTokens = 256;
    private readonly List<ModelWeights> _weights = [];
    private readonly List<LayerRangeExecutor> _executors = [];
    private KvCache[] _sequence = [];
    private float[] _hidden = [];
    private float[] _logits = [];

    private LayerPipeline(ModelShape shape) => Shape = shape;

    public ModelShape Shape { get; }

    /// <summary>Tokens appended so far.</summary>
    public int Length => _sequence[0].Length;

    /// <summary>Loads a model for one sequence of at most <paramref name="contextTokens"/>.</summary>
    public static LayerPipeline Load(
        string path, IReadOnlyList<int> cuts, int threads, KvElementType kv, int contextTokens, IProgress<LoadingProgress>? progress = null, CancellationToken ct = default)
    {
        using GgufFile file = GgufFile.Open(path);
        ModelShape shape = ModelShapeReader.Read(file);
        if (contextTokens > shape.ContextLength)
        {
            throw new ArgumentException($"{contextTokens} tokens are more than the model's context of {shape.ContextLength}.");
        }

        var pipeline = new LayerPipeline(shape);
        try
        {
            IReadOnlyList<LayerRange> ranges = RangesOf(cuts, shape.LayerCount);
            foreach (LayerRange range in ranges)
            {
                ModelWeights part = ModelWeights.Load(
                    file, shape, range, embedding: range.Start == 0, head: range.End == shape.LayerCount, progress, ct);
                pipeline._weights.Add(part);
                pipeline._executors.Add(new LayerRangeExecutor(part, new ExecutorOptions
                {
                    ThreadCount = threads,
                    KvElementType = kv,
                    MaxBatchTokenCount = PieceTokens,
                    KvBlockCount = ((contextTokens - 1) / KvCacheLayout.DefaultBlockTokenCount) + 1,
                }));
            }

            pipeline._hidden = new float[PieceTokens * shape.HiddenSize];
            pipeline._logits = new float[shape.VocabularySize];
            pipeline.Restart();
            return pipeline;
        }
        catch
        {
            pipeline.Dispose();
            throw;
        }
    }

    /// <summary>Forgets the sequence.</summary>
    public void Restart() => Truncate(0);

    /// <summary>Forgets what lies at or after a position.</summary>
    public void Truncate(int length)
    {
        if (_sequence.Length == 0)
        {
            _sequence = [.. _executors.Select(executor => executor.CreateSequence())];
        }

        foreach (KvCache cache in _sequence)
        {
            cache.Truncate(length);
        }
    }

    /// <summary>Runs the next ids through all layers.</summary>
    public void Append(ReadOnlySpan<int> ids, LogitRows rows, LogitRow? take, CancellationToken ct)
    {
        for (int start = 0; start < ids.Length; start += PieceTokens)
        {
            ReadOnlySpan<int> piece = ids.Slice(start, Math.Min(PieceTokens, ids.Length - start));
            Span<float> states = _hidden.AsSpan(0, piece.Length * Shape.HiddenSize);
            _executors[0].Embed(piece, states);
            for (int i = 0; i < _executors.Count; i++)
            {
                _executors[i].Forward([new SequenceSlice(_sequence[i], piece.Length)], states, ct);
            }

            int first = rows == LogitRows.All ? 0
                : rows == LogitRows.Last && start + piece.Length == ids.Length ? piece.Length - 1
                : piece.Length;
            for (int row = first; row < piece.Length; row++)
            {
                _executors[^1].ComputeLogits(states.Slice(row * Shape.HiddenSize, Shape.HiddenSize), _logits);
                take?.Invoke(_logits);
            }
        }
    }

    public void Dispose()
    {
        foreach (KvCache cache in _sequence)
        {
            cache.Dispose();
        }

        _executors.ForEach(executor => executor.Dispose());
        _weights.ForEach(part => part.Dispose());
    }

    private static List<LayerRange> RangesOf(IReadOnlyList<int> cuts, int layerCount)
    {
        var ranges = new List<LayerRange>();
        int start = 0;
        foreach (int cut in cuts)
        {
            if (cut <= start || cut >= layerCount)
            {
                throw new ArgumentException($"cuts must rise and lie between 1 and {layerCount - 1}: {string.Join(',', cuts)}.");
            }

            ranges.Add(new LayerRange(start, cut));
            start = cut;
        }

        ranges.Add(new LayerRange(start, layerCount));
        return ranges;
    }
}
