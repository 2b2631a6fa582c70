using E2LLM.Execution;
using E2LLM.KvCaching;

namespace E2LLM.Benchmarks;

/// <summary>
/// Attention of one new token over a deep context, 22 layers of 4 key/value heads of 64 that 32 query heads share: bytes of keys and values per second, against the read rate of as
/// many threads.
/// </summary>
internal static unsafe class AttentionBenchmark
{
    private static readonly ModelShape Shape = new()
    {
        Name = "attention", Architecture = "llama", LayerCount = 22, HiddenSize = 2048, HeadCount = 32, KvHeadCount = 4, HeadDim = 64, FeedForwardSize = 5632,
        VocabularySize = 32000, ContextLength = 16384, RopeDimensionCount = 64, RmsNormEpsilon = 1e-5f,
    };

    public static void Run()
    {
        Console.WriteLine($"{"cache",-6} {"positions",10} {"threads",8} {"ms a token",11} {"GB/s",7} {"of read rate",13}   (least of 9)");
        foreach (KvElementType type in Enum.GetValues<KvElementType>())
        {
            foreach (int depth in new[] { 2000, 8000 })
            {
                Run(type, depth);
            }
        }
    }

    private static void Run(KvElementType type, int depth)
    {
        var layout = new KvCacheLayout(new LayerRange(0, Shape.LayerCount), Shape.KvHeadCount, Shape.HeadDim, type);
        using var cachePool = new KvCachePool(layout, (depth / layout.BlockTokenCount) + 1);
        using KvCache cache = cachePool.CreateSequence();
        cache.Reserve(depth);
        byte[] one = new byte[layout.TokenBytes];
        for (int layer = 0; layer < Shape.LayerCount; layer++)
        {
            for (int position = 0; position < depth; position++)
            {
                cache.WriteKeys(layer, position, 1, one);
                cache.WriteValues(layer, position, 1, one);
            }
        }

        cache.Extend(depth - 1);
        var piece = new BatchPiece(1);
        piece.Add(cache, depth - 1, 1);
        using var output = new ActivationBuffer(1, Shape.QueryWidth, []);
        float[] queries = new float[Shape.QueryWidth];
        foreach (int threads in new[] { 1, 2 })
        {
            using var pool = new WorkerPool(threads);
            using var work = new AttentionWork(pool, Shape, layout);
            (double least, _) = Clock.Seconds(9, () =>
            {
                fixed (float* q = queries)
                {
                    for (int layer = 0; layer < Shape.LayerCount; layer++)
                    {
                        work.Run(piece, layer, q, output);
                    }
                }
            });
            double bytes = 2.0 * depth * layout.TokenBytes * Shape.LayerCount, read = Calibration.ReadBytesPerSecond(threads);
            Console.WriteLine($"{type,-6} {depth,10} {threads,8} {least * 1e3,11:F2} {bytes / least / 1e9,7:F1} {bytes / least / read,13:P0}");
        }
    }
}
