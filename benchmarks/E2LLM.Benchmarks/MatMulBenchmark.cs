namespace E2LLM.Benchmarks;

/// <summary>Products of a 2048 x 2048 matrix of every type on one thread: 256 tokens (Gop/s), 1 token and 8 tokens over matrices that no cache near the core holds.</summary>
internal static class MatMulBenchmark
{
    public static void Run(TensorType[] types)
    {
        // The ceilings first: what follows is held against them.
        Ceilings ceilings = Ceilings.Measure();
        Console.WriteLine(ceilings);
        Console.WriteLine($"{"type",-6} {"MatMat Gop/s",14} {"ceiling",8} {"MatVec GB/s",14} {"ceiling",8} {"8 tokens / 1 token",20}   (least of 9 | median; shares are of the least)");
        foreach (TensorType type in types.Length > 0 ? types : Enum.GetValues<TensorType>())
        {
            Run(type, ceilings);
        }
    }

    private static void Run(TensorType type, Ceilings ceilings)
    {
        using var work = new MatMulCase(type);
        (double least, double median) = Clock.Seconds(9, work.MultiplyMany);
        (double one, double oneMedian) = Clock.Seconds(9, () => work.Stream(1));
        (double eight, double eightMedian) = Clock.Seconds(9, () => work.Stream(8));
        double operations = MatMulCase.Operations(MatMulCase.ManyTokens) / 1e9, read = (double)MatMulCase.MatrixBytes(type) * MatMulCase.CopyCount(type) / 1e9;
        Console.WriteLine(
            $"{type,-6} {operations / least,6:F0} | {operations / median,5:F0} {operations * 1e9 / least / ceilings.OfProducts(type).Rate,8:P0} {read / one,6:F1} | {read / oneMedian,5:F1} {read * 1e9 / one / ceilings.Read,8:P0} {eight / one,9:F2} | {eightMedian / oneMedian,8:F2}");
    }
}
