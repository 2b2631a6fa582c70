using E2LLM.KvCaching;
using E2LLM.Weights;

namespace E2LLM.Execution;

/// <summary>
/// Runs a range of a model's layers for several sequences at once. Owns its threads, its buffers and the KV pool; borrows the weights.
/// Not thread-safe: one call at a time. Its own threads compute together with the calling one.
/// </summary>
/// <remarks>
/// Bit for bit, on one machine: layers <c>[0, n)</c> give what <c>[0, k)</c> and then <c>[k, n)</c> give; a prompt in any pieces, down to single tokens,
/// gives the same hidden states; a sequence gives the same in a batch as alone; and the number of threads changes nothing.
/// </remarks>
public sealed unsafe class LayerRangeExecutor : IDisposable
{
    private readonly ModelWeights _weights;
    private readonly WorkerPool _pool;
    private readonly TransformerLayer _layer;
    private readonly BatchPiece _piece;
    private readonly int _maxTokenCount;
    private bool _disposed;

    /// <summary>Makes an executor for all layers that <paramref name="weights"/> holds.</summary>
    /// <param name="weights">Weights; they must outlive the executor and may be shared with others.</param>
    /// <param name="options">How to run; null means the defaults.</param>
    /// <exception cref="ArgumentException">An option is out of range, or the model's numbers contradict each other.</exception>
    /// <exception cref="NotSupportedException">The KV element type does not go with the model's head width.</exception>
    public LayerRangeExecutor(ModelWeights weights, ExecutorOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(weights);
        ObjectDisposedException.ThrowIf(weights.IsDisposed, weights);
        options ??= new ExecutorOptions();
        options.Validate();
        ModelShape shape = weights.Shape;
        var layout = new KvCacheLayout(weights.Layers, shape.KvHeadCount, shape.HeadDim, options.KvElementType);
        layout.Validate();
        _weights = weights;
        _maxTokenCount = options.MaxBatchTokenCount;
        _piece = new BatchPiece(_maxTokenCount);
        KvPool = new KvCachePool(layout, options.ResolveKvBlockCount(layout.BlockBytes, layout.BlockTokenCount, shape.ContextLength));
        _pool = new WorkerPool(options.ResolveThreadCount());
        _layer = new TransformerLayer(weights, layout, _pool, _maxTokenCount);
    }

    /// <summary>
    /// Called during <see cref="Forward"/> after each layer, as soon as the keys and values of the whole batch are stored in it: they may leave for
    /// another machine while the next layers run.
    /// </summary>
    internal Action<int>? LayerDone { get; set; }

    /// <summary>The model.</summary>
    public ModelShape Shape => _weights.Shape;

    /// <summary>The layers that <see cref="Forward"/> runs.</summary>
    public LayerRange Layers => _weights.Layers;

    /// <summary>Whether <see cref="Embed"/> can be called.</summary>
    public bool HasEmbedding => _weights.HasEmbedding;

    /// <summary>Whether <see cref="ComputeLogits"/> can be called.</summary>
    public bool HasHead => _weights.HasHead;

    /// <summary>Where keys and values are kept.</summary>
    public KvCachePool KvPool { get; }

    /// <summary>Threads that compute, the calling one among them.</summary>
    public int ThreadCount => _pool.WorkerCount;

    /// <summary>Starts an empty sequence in <see cref="KvPool"/>. The caller disposes it.</summary>
    public KvCache CreateSequence()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return KvPool.CreateSequence();
    }

    /// <summary>Token ids to hidden states.</summary>
    /// <param name="ids">Token ids, <c>[n]</c>.</param>
    /// <param name="hidden">Output, <c>[n, HiddenSize]</c>.</param>
    /// <exception cref="ArgumentException">An id is outside the vocabulary, or a length does not fit.</exception>
    /// <exception cref="InvalidOperationException">The weights have no embedding.</exception>
    public void Embed(ReadOnlySpan<int> ids, Span<float> hidden)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        WeightMatrix embedding = _weights.Embedding ?? throw new InvalidOperationException($"This executor (layers {Layers}) was loaded without the embedding.");
        CheckLength(hidden.Length, ids.Length, Shape.HiddenSize, nameof(hidden), "HiddenSize");
        foreach (int id in ids)
        {
            if ((uint)id >= (uint)Shape.VocabularySize)
            {
                throw new ArgumentOutOfRangeException(nameof(ids), id, $"Token ids are 0 to {Shape.VocabularySize - 1}.");
            }
        }

        fixed (float* rows = hidden)
        {
            for (int i = 0; i < ids.Length; i++)
            {
                embedding.ReadRow(ids[i], rows + ((nint)i * Shape.HiddenSize));
            }
        }
    }

    /// <summary>Runs the layers in place, stores keys and values, and makes each sequence longer by its tokens.</summary>
    /// <param name="batch">Sequences of <see cref="KvPool"/>, each at most once, with the number of their next positions.</param>
    /// <param name="hidden">Hidden states <c>[sum of TokenCount, HiddenSize]</c>, slices one after another: in, and out.</param>
    /// <param name="cancellationToken">Looked at between layers.</param>
    /// <exception cref="ArgumentException">A length does not fit, a sequence is of another pool, comes twice, or would outgrow the model's context.</exception>
    /// <exception cref="KvCacheFullException">The pool has too few free blocks; nothing was changed.</exception>
    /// <exception cref="OperationCanceledException">Cancelled: all sequences have their old length, <paramref name="hidden"/> holds nothing useful.</exception>
    public void Forward(ReadOnlySpan<SequenceSlice> batch, Span<float> hidden, CancellationToken cancellationToken = default)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        int tokens = CheckBatch(batch);
        CheckLength(hidden.Length, tokens, Shape.HiddenSize, nameof(hidden), "HiddenSize");
        Reserve(batch);
        fixed (float* rows = hidden)
        {
            try
            {
                RunPieces(batch, rows, cancellationToken);
            }
            finally
            {
                _piece.Clear();
            }
        }

        foreach (SequenceSlice slice in batch)
        {
            slice.Sequence.Extend(slice.Sequence.Length + slice.TokenCount);
        }
    }

    /// <summary>
    /// Stores the keys and values of layer 0 for positions behind a sequence's end: they depend on token and position alone, so they need not come from elsewhere. Bit for bit what
    /// <see cref="Forward"/> stores. The sequence gets no longer.
    /// </summary>
    /// <param name="sequence">Sequence with room for the positions.</param>
    /// <param name="firstPosition">First position.</param>
    /// <param name="ids">Their token ids, at most as many as a batch has.</param>
    internal void StoreFirstLayer(KvCache sequence, int firstPosition, ReadOnlySpan<int> ids)
    {
        float[] hidden = new float[ids.Length * Shape.HiddenSize];
        Embed(ids, hidden);
        fixed (float* rows = hidden)
        {
            _piece.Clear();
            _piece.Add(sequence, firstPosition, ids.Length);
            _layer.Prepare(_piece);
            _layer.StoreKeysValues(0, _weights.Layer(0), _piece, rows);
            _piece.Clear();
        }
    }

    /// <summary>Final norm and head.</summary>
    /// <param name="hidden">Hidden states after the last layer, <c>[n, HiddenSize]</c>; only the rows whose logits are wanted.</param>
    /// <param name="logits">Output, <c>[n, VocabularySize]</c>.</param>
    /// <exception cref="ArgumentException">A length does not fit.</exception>
    /// <exception cref="InvalidOperationException">The weights have no head.</exception>
    public void ComputeLogits(ReadOnlySpan<float> hidden, Span<float> logits)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (!HasHead)
        {
            throw new InvalidOperationException($"This executor (layers {Layers}) was loaded without the head.");
        }

        int n = hidden.Length / Shape.HiddenSize;
        CheckLength(hidden.Length, n, Shape.HiddenSize, nameof(hidden), "HiddenSize");
        CheckLength(logits.Length, n, Shape.VocabularySize, nameof(logits), "VocabularySize");
        fixed (float* x = hidden, y = logits)
        {
            for (int token = 0; token < n; token += _maxTokenCount)
            {
                int count = Math.Min(_maxTokenCount, n - token);
                _layer.Head(_weights, x + ((nint)token * Shape.HiddenSize), count, y + ((nint)token * Shape.VocabularySize));
            }
        }
    }

    /// <summary>Ends the threads and frees buffers and KV pool. The weights stay.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _pool.Dispose();
        _layer.Dispose();
        KvPool.Dispose();
    }

    private static void CheckLength(int length, int rows, int width, string name, string widthName)
    {
        if (length != (long)rows * width)
        {
            throw new ArgumentException($"Expected {rows} rows x {widthName} {width} = {(long)rows * width} elements, got {length}.", name);
        }
    }

    private int CheckBatch(ReadOnlySpan<SequenceSlice> batch)
    {
        long tokens = 0;
        for (int i = 0; i < batch.Length; i++)
        {
            (KvCache sequence, int count) = batch[i];
            ArgumentNullException.ThrowIfNull(sequence, nameof(batch));
            ArgumentOutOfRangeException.ThrowIfLessThan(count, 1, nameof(batch));
            sequence.ThrowIfUnusable();
            if (sequence.Pool != KvPool)
            {
                throw new ArgumentException($"Sequence {i} of the batch belongs to another pool.", nameof(batch));
            }

            if ((long)sequence.Length + count > Shape.ContextLength)
            {
                throw new ArgumentException(
                    $"Sequence {i} of the batch has {sequence.Length} positions; {count} more exceed the model's context of {Shape.ContextLength}.", nameof(batch));
            }

            for (int earlier = 0; earlier < i; earlier++)
            {
                if (batch[earlier].Sequence == sequence)
                {
                    throw new ArgumentException($"Sequence {i} of the batch is sequence {earlier} again.", nameof(batch));
                }
            }

            tokens += count;
        }

        return checked((int)tokens);
    }

    private void Reserve(ReadOnlySpan<SequenceSlice> batch)
    {
        int needed = 0;
        foreach ((KvCache sequence, int count) in batch)
        {
            needed += Math.Max(0, KvPool.BlocksFor(sequence.Length + count) - (sequence.Capacity / KvPool.Layout.BlockTokenCount));
        }

        // All or none, so that a full pool leaves every sequence as it was.
        if (needed > KvPool.FreeBlockCount)
        {
            throw new KvCacheFullException(needed, KvPool.FreeBlockCount, KvPool.BlockCount);
        }

        foreach ((KvCache sequence, int count) in batch)
        {
            sequence.Reserve(sequence.Length + count);
        }
    }

    private void RunPieces(ReadOnlySpan<SequenceSlice> batch, float* rows, CancellationToken cancellationToken)
    {
        int slice = 0, done = 0;
        while (slice < batch.Length)
        {
            _piece.Clear();
            while (slice < batch.Length && _piece.TokenCount < _maxTokenCount)
            {
                (KvCache sequence, int count) = batch[slice];
                int taken = Math.Min(count - done, _maxTokenCount - _piece.TokenCount);
                _piece.Add(sequence, sequence.Length + done, taken);
                done += taken;
                if (done == count)
                {
                    slice++;
                    done = 0;
                }
            }

            _layer.Prepare(_piece);
            for (int layer = Layers.Start; layer < Layers.End; layer++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                _layer.Forward(layer, _weights.Layer(layer), _piece, rows);
                if (slice == batch.Length)
                {
                    LayerDone?.Invoke(layer);
                }
            }

            rows += (nint)_piece.TokenCount * Shape.HiddenSize;
        }
    }
}
