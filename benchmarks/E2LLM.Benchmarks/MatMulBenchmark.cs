using E2LLM.Kernels.MatMul;

namespace E2LLM.Benchmarks;

/// <summary>Products of a 2048 x 2048 matrix of every type on one thread: 256 tokens (Gop/s), 1 token and 8 tokens over matrices that no cache near the core holds.</summary>
internal static unsafe class MatMulBenchmark
{
    private const int Size = 2048;
    private const int Tokens = 256;
    private const long StreamBytes = 192L << 20;

    public static void Run(TensorType[] types)
    {
        // The ceilings first: what follows is held against them.
        Ceilings ceilings = new(Calibration.ReadBytesPerSecond(), Calibration.FloatOperationsPerSecond(), Calibration.ByteOperationsPerSecond(), Calibration.PairOperationsPerSecond());
        Console.WriteLine($"one core here: read {ceilings.Read / 1e9:F1} GB/s, FMA-512 {ceilings.Floats / 1e9:F0} GFLOP/s, VNNI-256 {ceilings.Bytes / 1e9:F0} Gop/s, vpmaddubsw-512 with its addition {ceilings.Pairs / 1e9:F0} Gop/s");
        Console.WriteLine($"{"type",-6} {"MatMat Gop/s",14} {"ceiling",8} {"MatVec GB/s",14} {"ceiling",8} {"8 tokens / 1 token",20}   (least of 9 | median; shares are of the least)");
        foreach (TensorType type in types.Length > 0 ? types : Enum.GetValues<TensorType>())
        {
            Run(type, ceilings);
        }
    }

    private static void Run(TensorType type, Ceilings ceilings)
    {
        int copies = (int)(StreamBytes / PackedMatrix.MatrixBytes(type, Size, Size));
        using var data = new ProductData(type, Size, Size, Tokens, copies);
        (double least, double median) = Clock.Seconds(9, () => PackedMatrix.Multiply(type, data.Weights, Size, Size, 0, Size, data.X, Tokens, data.Y, Size));
        (double one, double oneMedian) = Clock.Seconds(9, () => Stream(type, data, copies, 1));
        (double eight, double eightMedian) = Clock.Seconds(9, () => Stream(type, data, copies, 8));

        // Weights below 64 are multiplied by vpmaddubsw, bytes by vpdpbusd.
        double peak = PackedMatrix.FormOf(type) == ActivationForm.Single ? ceilings.Floats : type == TensorType.Q8_0 || ceilings.Pairs == 0 ? ceilings.Bytes : ceilings.Pairs;
        double operations = 2.0 * Size * Size * Tokens / 1e9, read = data.Bytes * copies / 1e9;
        Console.WriteLine(
            $"{type,-6} {operations / least,6:F0} | {operations / median,5:F0} {operations * 1e9 / least / peak,8:P0} {read / one,6:F1} | {read / oneMedian,5:F1} {read * 1e9 / one / ceilings.Read,8:P0} {eight / one,9:F2} | {eightMedian / oneMedian,8:F2}");
    }

    private static void Stream(TensorType type, ProductData data, int copies, int tokens)
    {
        for (int copy = 0; copy < copies; copy++)
        {
            PackedMatrix.Multiply(type, data.Weights + (copy * data.Bytes), Size, Size, 0, Size, data.X, tokens, data.Y, Size);
        }
    }

    private readonly record struct Ceilings(double Read, double Floats, double Bytes, double Pairs);
}
