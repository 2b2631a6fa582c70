using E2LLM.Kernels.Attention;
using E2LLM.Kernels.Elementwise;
using E2LLM.KvCaching;
using E2LLM.Weights;

namespace E2LLM.Execution;

/// <summary>
/// What happens between the query, key and value projections and attention, for each token: biases, per-head norms, rotation, the scale of
/// the scores, and storing keys and values. Reused from run to run by one executor.
/// </summary>
internal sealed unsafe class HeadsWork(WorkerPool pool, ModelShape shape, RotaryAngles angles) : TokenWork(pool)
{
    private readonly float _queryScale = 1f / MathF.Sqrt(shape.HeadDim);
    private BatchPiece? _piece;
    private LayerWeights? _weights;
    private int _layer;
    private float* _queries, _keys, _values;

    /// <summary>Finishes queries in place and stores keys and values in the sequences' caches.</summary>
    /// <param name="piece">Which token is which position of which sequence.</param>
    /// <param name="weights">The layer's biases and norms.</param>
    /// <param name="layer">Absolute layer.</param>
    /// <param name="queries"><c>[tokens][QueryWidth]</c>; null where only keys and values are wanted.</param>
    /// <param name="keys"><c>[tokens][KvWidth]</c>; changed.</param>
    /// <param name="values"><c>[tokens][KvWidth]</c>; changed.</param>
    internal void Run(BatchPiece piece, LayerWeights weights, int layer, float* queries, float* keys, float* values)
    {
        _piece = piece;
        _weights = weights;
        _layer = layer;
        _queries = queries;
        _keys = keys;
        _values = values;
        RunTokens(piece.TokenCount);
    }

    protected override void RunToken(int token)
    {
        float* key = _keys + ((nint)token * shape.KvWidth), value = _values + ((nint)token * shape.KvWidth);
        if (_queries is not null)
        {
            FinishQuery(token, _queries + ((nint)token * shape.QueryWidth));
        }

        AddBias(key, _weights!.KeyBias, shape.KvWidth);
        AddBias(value, _weights.ValueBias, shape.KvWidth);
        NormHeads(key, _weights.KeyNorm, shape.KvHeadCount);
        Rotate(key, token, shape.KvHeadCount);
        Store(token, key, value);
    }

    private void FinishQuery(int token, float* query)
    {
        AddBias(query, _weights!.QueryBias, shape.QueryWidth);
        NormHeads(query, _weights.QueryNorm, shape.HeadCount);
        Rotate(query, token, shape.HeadCount);
        Scale.Run(query, shape.QueryWidth, _queryScale, query);
    }

    private static void AddBias(float* row, AlignedBuffer? bias, int width)
    {
        if (bias is not null)
        {
            AddTo.Run(bias.Floats, width, row);
        }
    }

    private void NormHeads(float* row, AlignedBuffer? weight, int heads)
    {
        for (int head = 0; weight is not null && head < heads; head++)
        {
            float* x = row + (head * shape.HeadDim);
            RmsNorm.Run(x, weight.Floats, shape.HeadDim, shape.RmsNormEpsilon, x);
        }
    }

    private void Rotate(float* row, int token, int heads)
    {
        float* cosines = angles.Cosines(token), sines = angles.Sines(token);
        for (int head = 0; head < heads; head++)
        {
            float* x = row + (head * shape.HeadDim);
            if (shape.RopeLayout == RopeLayout.Interleaved)
            {
                Rope.RotateInterleaved(x, cosines, sines, angles.Pairs);
            }
            else
            {
                Rope.RotateHalves(x, cosines, sines, angles.Pairs);
            }
        }
    }

    private void Store(int token, float* key, float* value)
    {
        KvCacheLayout layout = _piece!.SliceOf(token).Cache.Layout;
        int position = _piece.PositionOf(token), slot = position % layout.BlockTokenCount;
        byte* data = _piece.SliceOf(token).Cache.LayerPointer(_layer, position / layout.BlockTokenCount);
        for (int head = 0; head < shape.KvHeadCount; head++)
        {
            byte* keys = data + layout.KeysOffset(head) + (slot * layout.ElementBytes);
            ushort* keyScales = (ushort*)(data + layout.KeyScalesOffset(head)) + slot;
            EncodeKv.Run(layout.ElementType, key + (head * shape.HeadDim), shape.HeadDim, keys, layout.BlockTokenCount, keyScales, layout.BlockTokenCount);
            byte* values = data + layout.ValuesOffset(head) + ((long)slot * layout.StoredHeadDim * layout.ElementBytes);
            ushort* valueScales = (ushort*)(data + layout.ValueScalesOffset(head)) + (slot * layout.HeadScaleCount);
            EncodeKv.Run(layout.ElementType, value + (head * shape.HeadDim), shape.HeadDim, values, 1, valueScales, 1);
        }
    }
}
