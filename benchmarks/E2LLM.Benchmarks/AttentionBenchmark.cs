using E2LLM.Execution;
using E2LLM.KvCaching;

namespace E2LLM.Benchmarks;

/// <summary>
/// Attention of one new token over a deep context, heads as those of two models: bytes of keys and values per second, against the read rate of as many threads.
/// </summary>
internal static unsafe class AttentionBenchmark
{
    private static readonly ModelShape[] Shapes = [Shape("22 layers, 32 / 4 heads of 64", 22, 32, 4, 64), Shape("28 layers, 16 / 8 heads of 128", 28, 16, 8, 128)];

    public static void Run(KvElementType[] types)
    {
        foreach (ModelShape shape in Shapes)
        {
            Console.WriteLine($"{shape.Name}\n{"cache",-6} {"positions",10} {"threads",8} {"ms a token",11} {"GB/s",7} {"of read rate",13}   (least of 9)");
            foreach (KvElementType type in types.Length > 0 ? types : Enum.GetValues<KvElementType>())
            {
                Run(shape, type, 2000);
                Run(shape, type, 8000);
            }
        }
    }

    private static ModelShape Shape(string name, int layers, int heads, int kvHeads, int headDim) => new()
    {
        Name = name, Architecture = "llama", LayerCount = layers, HiddenSize = 2048, HeadCount = heads, KvHeadCount = kvHeads, HeadDim = headDim, FeedForwardSize = 5632,
        VocabularySize = 32000, ContextLength = 16384, RopeDimensionCount = 64, RmsNormEpsilon = 1e-5f,
    };

    private static void Run(ModelShape shape, KvElementType type, int depth)
    {
        var layout = new KvCacheLayout(new LayerRange(0, shape.LayerCount), shape.KvHeadCount, shape.HeadDim, type);
        using var cachePool = new KvCachePool(layout, (depth / layout.BlockTokenCount) + 1);
        using KvCache cache = cachePool.CreateSequence();
        cache.Reserve(depth);
        byte[] some = Stored(layout, depth);
        for (int layer = 0; layer < shape.LayerCount; layer++)
        {
            cache.WriteKeys(layer, 0, depth, some);
            cache.WriteValues(layer, 0, depth, some);
        }

        cache.Extend(depth - 1);
        var piece = new BatchPiece(1);
        piece.Add(cache, depth - 1, 1);
        using var output = new ActivationBuffer(1, shape.QueryWidth, []);
        float[] queries = [.. Enumerable.Range(0, shape.QueryWidth).Select(i => ((i * 37 % 101) - 50) / 500f)];
        foreach (int threads in new[] { 1, 2 })
        {
            using var pool = new WorkerPool(threads);
            using var work = new AttentionWork(pool, shape, layout);
            (double least, _) = Clock.Seconds(9, () =>
            {
                fixed (float* q = queries)
                {
                    for (int layer = 0; layer < shape.LayerCount; layer++)
                    {
                        work.Run(piece, layer, q, output);
                    }
                }
            });
            double bytes = 2.0 * depth * layout.TokenBytes * shape.LayerCount, read = Calibration.ReadBytesPerSecond(threads);
            Console.WriteLine($"{type,-6} {depth,10} {threads,8} {least * 1e3,11:F2} {bytes / least / 1e9,7:F1} {bytes / least / read,13:P0}");
        }
    }

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
