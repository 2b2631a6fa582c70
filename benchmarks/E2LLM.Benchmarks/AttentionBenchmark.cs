using E2LLM.Execution;

namespace E2LLM.Benchmarks;

/// <summary>
/// Attention of one new token over a deep context, heads as those of two models: bytes of keys and values per second, against the read rate of as many threads.
/// </summary>
internal static class AttentionBenchmark
{
    public static void Run(KvElementType[] types)
    {
        foreach (ModelShape shape in AttentionCase.Shapes)
        {
            Console.WriteLine($"{shape.Name}\n{"cache",-6} {"positions",10} {"threads",8} {"ms a token",11} {"GB/s",7} {"of read rate",13}   (least of 9)");
            foreach (KvElementType type in types.Length > 0 ? types : Enum.GetValues<KvElementType>())
            {
                Run(shape, type, 2000);
                Run(shape, type, 8000);
            }
        }
    }

    private static void Run(ModelShape shape, KvElementType type, int depth)
    {
        using var attention = new AttentionCase(shape, type, depth);
        foreach (int threads in new[] { 1, 2 })
        {
            using var pool = new WorkerPool(threads);
            using AttentionWork work = attention.Work(pool);
            (double least, _) = Clock.Seconds(9, () => attention.Run(work));
            double bytes = AttentionCase.Bytes(shape, type, depth), read = Calibration.ReadBytesPerSecond(threads);
            Console.WriteLine($"{type,-6} {depth,10} {threads,8} {least * 1e3,11:F2} {bytes / least / 1e9,7:F1} {bytes / least / read,13:P0}");
        }
    }
}
