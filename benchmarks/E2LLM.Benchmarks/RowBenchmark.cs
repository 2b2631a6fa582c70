using System.Diagnostics;

namespace E2LLM.Benchmarks;

/// <summary>What is done to one row of activations between two products, in microseconds for 2048 elements on one thread: none of it should be seen beside a product.</summary>
internal static class RowBenchmark
{
    private const int Rounds = 2000;

    // Methods are compiled anew after they have run for a while: that must be over before anything is timed.
    private static readonly TimeSpan WarmUp = TimeSpan.FromMilliseconds(400);

    public static void Run()
    {
        using var rows = new RowCase();
        foreach (RowOperation operation in rows.Operations)
        {
            for (long start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start) < WarmUp;)
            {
                operation.Run();
            }

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
