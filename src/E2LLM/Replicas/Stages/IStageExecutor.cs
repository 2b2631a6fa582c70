using E2LLM.KvCaching;
using E2LLM.Replicas.Connections;

namespace E2LLM.Replicas.Stages;

/// <summary>The next positions of one sequence in a batch.</summary>
internal readonly record struct StageSlice(KvCache Sequence, int TokenCount);

/// <summary>
/// What a stage needs of whoever computes its layers: the executor, or a stand-in of the tests that computes little. Used by one thread.
/// </summary>
internal interface IStageExecutor
{
    ModelShape Shape { get; }

    StageRole Role { get; }

    KvCachePool KvPool { get; }

    /// <summary>Tokens in one call of <see cref="Forward"/> at most.</summary>
    int MaxBatchTokenCount { get; }

    /// <summary>Called during <see cref="Forward"/> when a layer has stored the keys and values of the whole batch.</summary>
    Action<int>? LayerDone { get; set; }

    /// <summary>Token ids to hidden states <c>[ids, HiddenSize]</c>.</summary>
    void Embed(ReadOnlySpan<int> ids, Span<float> hidden);

    /// <summary>Runs the stage's layers over the batch, in place; appends keys and values and extends the sequences.</summary>
    void Forward(ReadOnlySpan<StageSlice> batch, Span<float> hidden, CancellationToken cancellationToken);

    /// <summary>
    /// Stores keys and values of layer 0, which depend on token and position alone, for positions behind the sequence's end; only where the stage has embedding and layer 0. At most
    /// <see cref="FirstLayer.ChunkTokenCount"/> tokens.
    /// </summary>
    void StoreFirstLayer(KvCache sequence, int firstPosition, ReadOnlySpan<int> ids);

    /// <summary>Hidden states <c>[n, HiddenSize]</c> to logits <c>[n, VocabularySize]</c>.</summary>
    void ComputeLogits(ReadOnlySpan<float> hidden, Span<float> logits);
}
