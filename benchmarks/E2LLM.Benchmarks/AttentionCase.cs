using System.Runtime.InteropServices;
using E2LLM.Execution;
using E2LLM.KvCaching;

namespace E2LLM.Benchmarks;

/// <summary>One new token that attends to a deep context in every layer of a model, heads as those of two models. Owns its memory.</summary>
internal sealed unsafe class AttentionCase : IDisposable
{
    public static readonly ModelShape[] Shapes = [Shape("22 layers, 32 / 4 heads of 64", 22, 32, 4, 64), Shape("28 layers, 16 / 8 heads of 128", 28, 16, 8, 128)];

    private readonly ModelShape _shape;
    private readonly KvCacheLayout _layout;
    private readonly KvCachePool _cachePool;
    private readonly KvCache _cache;
    private readonly BatchPiece _piece = new(1);
    private readonly ActivationBuffer _output;
    private readonly float* _queries;

    public AttentionCase(ModelShape shape, KvElementType type, int depth)
    {
        _shape = shape;
        _layout = Layout(shape, type);
        _cachePool = new KvCachePool(_layout, (depth / _layout.BlockTokenCount) + 1);
        _cache = _cachePool.CreateSequence();
        _cache.Reserve(depth);
        byte[] some = Stored(_layout, depth);
        for (int layer = 0; layer < shape.LayerCount; layer++)
        {
            _cache.WriteKeys(layer, 0, depth, some);
            _cache.WriteValues(layer, 0, depth, some);
        }

        _cache.Extend(depth - 1);
        _piece.Add(_cache, depth - 1, 1);
        _output = new ActivationBuffer(1, shape.QueryWidth, []);
        _queries = (float*)NativeMemory.AlignedAlloc((nuint)shape.QueryWidth * sizeof(float), 64);
        for (int i = 0; i < shape.QueryWidth; i++)
        {
            _queries[i] = ((i * 37 % 101) - 50) / 500f;
        }
    }

    /// <summary>Bytes of keys and values that one token reads.</summary>
    public static double Bytes(ModelShape shape, KvElementType type, int depth) => 2.0 * depth * Layout(shape, type).TokenBytes * shape.LayerCount;

    /// <summary>Operations of the scores and of the weighted sums; the exponentials are not counted.</summary>
    public static double Operations(ModelShape shape, int depth) => 4.0 * depth * shape.QueryWidth * shape.LayerCount;

    public AttentionWork Work(WorkerPool pool) => new(pool, _shape, _layout);

    /// <summary>The token's attention in every layer.</summary>
    public void Run(AttentionWork work)
    {
        for (int layer = 0; layer < _shape.LayerCount; layer++)
        {
            work.Run(_piece, layer, _queries, _output);
        }
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(_queries);
        _output.Dispose();
        _cache.Dispose();
        _cachePool.Dispose();
    }

    private static KvCacheLayout Layout(ModelShape shape, KvElementType type) => new(new LayerRange(0, shape.LayerCount), shape.KvHeadCount, shape.HeadDim, type);

    private static ModelShape Shape(string name, int layers, int heads, int kvHeads, int headDim) => new()
    {
        Name = name, Architecture = "llama", LayerCount = layers, HiddenSize = 2048, HeadCount = heads, KvHeadCount = kvHeads, HeadDim = headDim, FeedForwardSize = 5632,
        VocabularySize = 32000, ContextLength = 16384, RopeDimensionCount = 64, RmsNormEpsilon = 1e-5f,
    };

    /// <summary>Numbers around zero of ordinary size: 1 or 2 with either sign as halves, smaller ones as singles; as bytes of Q8_0, scales among them.</summary>
    private static byte[] Stored(KvCacheLayout layout, int depth)
    {
        byte[] bytes = new byte[depth * layout.TokenBytes];
        int size = layout.ElementType == KvElementType.F32 ? sizeof(float) : sizeof(ushort);
        for (int i = 0; i < bytes.Length; i += size)
        {
            bytes[i + size - 2] = (byte)(i * 7);
            bytes[i + size - 1] = (byte)(layout.ElementType == KvElementType.F16 ? 0x3C : 0x3F);
            bytes[i + size - 1] |= (byte)(i / size % 3 == 0 ? 0x80 : 0);
        }

        return bytes;
    }
}
