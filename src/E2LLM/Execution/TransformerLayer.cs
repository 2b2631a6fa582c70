using E2LLM.KvCaching;
using E2LLM.Weights;

namespace E2LLM.Execution;

/// <summary>
/// The forward pass of one layer (the llama family: pre-norm, grouped-query attention with rotary positions, gated MLP), for all tokens of a piece at once.
/// Owns the works and the buffers that it reuses; not thread-safe.
/// </summary>
internal sealed unsafe class TransformerLayer : IDisposable
{
    private readonly ExecutionBuffers _buffers;
    private readonly NormWork _norm;
    private readonly MultiplyWork _multiply;
    private readonly HeadsWork _heads;
    private readonly AttentionWork _attention;
    private readonly CompleteWork _complete;
    private readonly GateWork _gate;
    private readonly ResidualWork _residual;
    private readonly RotaryAngles _angles;

    internal TransformerLayer(ModelWeights weights, KvCacheLayout layout, WorkerPool pool, int maxTokenCount)
    {
        ModelShape shape = weights.Shape;
        _buffers = new ExecutionBuffers(shape, weights, maxTokenCount);
        _angles = new RotaryAngles(shape, weights.RopeFactors, maxTokenCount);
        _norm = new NormWork(pool, shape.HiddenSize, shape.RmsNormEpsilon);
        _multiply = new MultiplyWork(pool);
        _heads = new HeadsWork(pool, shape, _angles);
        _attention = new AttentionWork(pool, shape, layout);
        _complete = new CompleteWork(pool);
        _gate = new GateWork(pool, shape.FeedForwardSize);
        _residual = new ResidualWork(pool, shape.HiddenSize);
    }

    /// <summary>Must come before the layers of a new piece: its positions' rotary angles are the same in every layer.</summary>
    internal void Prepare(BatchPiece piece) => _angles.Fill(piece);

    /// <summary>Runs one layer in place.</summary>
    /// <param name="layer">Absolute layer.</param>
    /// <param name="w">Its weights.</param>
    /// <param name="piece">The tokens.</param>
    /// <param name="x">Hidden states, <c>[tokens][HiddenSize]</c>.</param>
    internal void Forward(int layer, LayerWeights w, BatchPiece piece, float* x)
    {
        ExecutionBuffers b = _buffers;
        int n = piece.TokenCount;

        _norm.Run(x, w.AttentionNorm, b.Normed, n);                                                       // [n, hidden]
        _multiply.Add(w.Query, b.Queries).Add(w.Key, b.Keys).Add(w.Value, b.Values).Run(b.Normed, n);     // [n, query], 2 x [n, kv]
        _heads.Run(piece, w, layer, b.Queries, b.Keys, b.Values);                                         // K and V into the cache
        _attention.Run(piece, layer, b.Queries, b.Attended);                                              // [n, query]
        _complete.Run(b.Attended, n);
        _multiply.Add(w.AttentionOutput, b.Projected).Run(b.Attended, n);                                 // [n, hidden]
        _residual.Run(b.Projected, x, n);

        _norm.Run(x, w.FeedForwardNorm, b.Normed, n);
        _multiply.Add(w.Gate, b.Gated.Row(0)).Add(w.Up, b.Up).Run(b.Normed, n);                           // 2 x [n, feed-forward]
        _gate.Run(b.Gated, b.Up, n);
        _multiply.Add(w.Down, b.Projected).Run(b.Gated, n);                                               // [n, hidden]
        _residual.Run(b.Projected, x, n);
    }

    /// <summary>The beginning of <see cref="Forward"/>: stores the layer's keys and values, and leaves the rest. Bit for bit what that stores.</summary>
    internal void StoreKeysValues(int layer, LayerWeights w, BatchPiece piece, float* x)
    {
        ExecutionBuffers b = _buffers;
        _norm.Run(x, w.AttentionNorm, b.Normed, piece.TokenCount);
        _multiply.Add(w.Key, b.Keys).Add(w.Value, b.Values).Run(b.Normed, piece.TokenCount);
        _heads.Run(piece, w, layer, null, b.Keys, b.Values);
    }

    /// <summary>Final norm and head: <c>logits[t] = head * norm(x[t])</c>.</summary>
    /// <param name="w">Weights that hold the head.</param>
    /// <param name="x">Hidden states, <c>[tokens][HiddenSize]</c>.</param>
    /// <param name="tokens">At most the piece size.</param>
    /// <param name="logits"><c>[tokens][VocabularySize]</c>.</param>
    internal void Head(ModelWeights w, float* x, int tokens, float* logits)
    {
        _norm.Run(x, w.FinalNorm!, _buffers.Final, tokens);
        _multiply.Add(w.Head!, logits).Run(_buffers.Final, tokens);
    }

    public void Dispose()
    {
        _buffers.Dispose();
        _attention.Dispose();
        _angles.Dispose();
    }
}
