using E2LLM.Execution;
using E2LLM.KvCaching;
using E2LLM.Replicas.Connections;

namespace E2LLM.Replicas.Stages;

/// <summary>A stage's view of a <see cref="LayerRangeExecutor"/>. Used by one thread; does not own the executor.</summary>
internal sealed class LayerRangeStageExecutor(LayerRangeExecutor executor) : IStageExecutor
{
    /// <summary>The executor cuts long batches itself; this bounds the hidden states of one step on the wire and in memory.</summary>
    private const int MaxStepTokenCount = 4096;

    private SequenceSlice[] _slices = [];

    public ModelShape Shape => executor.Shape;

    public StageRole Role { get; } = new(executor.Layers, executor.HasEmbedding, executor.HasHead);

    public KvCachePool KvPool => executor.KvPool;

    public int MaxBatchTokenCount => MaxStepTokenCount;

    public Action<int>? LayerDone
    {
        get => executor.LayerDone;
        set => executor.LayerDone = value;
    }

    public void Embed(ReadOnlySpan<int> ids, Span<float> hidden) => executor.Embed(ids, hidden);

    public void Forward(ReadOnlySpan<StageSlice> batch, Span<float> hidden, CancellationToken cancellationToken)
    {
        if (_slices.Length < batch.Length)
        {
            _slices = new SequenceSlice[batch.Length];
        }

        for (int i = 0; i < batch.Length; i++)
        {
            _slices[i] = new SequenceSlice(batch[i].Sequence, batch[i].TokenCount);
        }

        executor.Forward(_slices.AsSpan(0, batch.Length), hidden, cancellationToken);
        Array.Clear(_slices);
    }

    public void StoreFirstLayer(KvCache sequence, int firstPosition, ReadOnlySpan<int> ids) => executor.StoreFirstLayer(sequence, firstPosition, ids);

    public void ComputeLogits(ReadOnlySpan<float> hidden, Span<float> logits) => executor.ComputeLogits(hidden, logits);
}
