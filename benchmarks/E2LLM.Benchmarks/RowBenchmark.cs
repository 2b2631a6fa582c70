namespace E2LLM.Benchmarks;

/// <summary>What is done to one row of activations between two products, in microseconds for 2048 elements on one thread: none of it should be seen beside a product.</summary>
internal static class RowBenchmark
{
    private const int Rounds = 2000;

    public static void Run()
    {
        using var rows = new RowCase();
        foreach (RowOperation operation in rows.Operations)
        {
            (double least, double median) = Clock.Seconds(9, () =>
            {
                for (int round = 0; round < Rounds; round++)
                {
                    operation.Run();
                }
            });
            Console.WriteLine($"{operation.Name,-24} {least / Rounds * 1e6,8:F2} us | {median / Rounds * 1e6,8:F2} us   (least of 9 | median)");
        }
    }
}
