using System.Runtime.InteropServices;
using E2LLM.Kernels.MatMul;
using E2LLM.Kernels.Quantization;

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
        Ceilings ceilings = new(Calibration.ReadBytesPerSecond(), Calibration.FloatOperationsPerSecond(), Calibration.ByteOperationsPerSecond());
        Console.WriteLine($"one core here: read {ceilings.Read / 1e9:F1} GB/s, FMA-512 {ceilings.Floats / 1e9:F0} GFLOP/s, VNNI-256 {ceilings.Bytes / 1e9:F0} Gop/s");
        Console.WriteLine($"{"type",-6} {"MatMat Gop/s",14} {"ceiling",8} {"MatVec GB/s",14} {"ceiling",8} {"8 tokens / 1 token",20}   (least of 9 | median; shares are of the least)");
        foreach (TensorType type in types.Length > 0 ? types : Enum.GetValues<TensorType>())
        {
            Run(type, ceilings);
        }
    }

    private static void Run(TensorType type, Ceilings ceilings)
    {
        long bytes = PackedMatrix.MatrixBytes(type, Size, Size);
        int copies = (int)(StreamBytes / bytes);
        byte* weights = (byte*)NativeMemory.AlignedAlloc((nuint)(bytes * copies), 64);
        for (int copy = 0; copy < copies; copy++)
        {
            Fill(type, weights + (copy * bytes));
        }

        float* x = Floats(Tokens * Size), scales = Floats(Tokens * Size / 32), y = Floats(Tokens * Size);
        sbyte* quants = (sbyte*)Floats(Tokens * Size / 4);
        int* sums = (int*)Floats(Tokens * Size / 16);
        var random = new Random(1);
        for (int i = 0; i < Tokens * Size; i++)
        {
            x[i] = random.NextSingle() - 0.5f;
        }

        if (PackedMatrix.FormOf(type) == ActivationForm.Blocks256)
        {
            QuantizeActivations256.Run(x, Tokens * Size, quants, scales, (short*)sums);
        }
        else
        {
            QuantizeActivations.Run(x, Tokens * Size, quants, scales, sums);
        }

        var all = new Activations(x, new QuantizedActivations(quants, scales, sums), new SuperBlockActivations(quants, scales, (short*)sums));
        (double least, double median) = Clock.Seconds(9, () => PackedMatrix.Multiply(type, weights, Size, Size, 0, Size, all, Tokens, y, Size));
        (double one, double oneMedian) = Clock.Seconds(9, () => Stream(type, weights, bytes, copies, all, 1, y));
        (double eight, double eightMedian) = Clock.Seconds(9, () => Stream(type, weights, bytes, copies, all, 8, y));
        double peak = PackedMatrix.FormOf(type) == ActivationForm.Single ? ceilings.Floats : ceilings.Bytes;
        double operations = 2.0 * Size * Size * Tokens / 1e9, read = bytes * copies / 1e9;
        Console.WriteLine(
            $"{type,-6} {operations / least,6:F0} | {operations / median,5:F0} {operations * 1e9 / least / peak,8:P0} {read / one,6:F1} | {read / oneMedian,5:F1} {read * 1e9 / one / ceilings.Read,8:P0} {eight / one,9:F2} | {eightMedian / oneMedian,8:F2}");
        foreach (nint memory in new[] { (nint)weights, (nint)x, (nint)scales, (nint)y, (nint)quants, (nint)sums })
        {
            NativeMemory.AlignedFree((void*)memory);
        }
    }

    private static void Stream(TensorType type, byte* weights, long bytes, int copies, Activations x, int tokens, float* y)
    {
        for (int copy = 0; copy < copies; copy++)
        {
            PackedMatrix.Multiply(type, weights + (copy * bytes), Size, Size, 0, Size, x, tokens, y, Size);
        }
    }

    /// <summary>Random quants, with factors of ordinary size.</summary>
    private static void Fill(TensorType type, byte* packed)
    {
        int blockBytes = TensorTypeGeometry.BlockBytes(type);
        long rowBytes = TensorTypeGeometry.RowBytes(type, Size);
        int groupRows = PackedMatrix.GroupRows(type);
        byte[] rows = new byte[groupRows * rowBytes];
        var random = new Random(2);
        for (int row = 0; row < Size; row += groupRows)
        {
            random.NextBytes(rows);
            for (int at = 0; at < rows.Length; at += blockBytes)
            {
                Span<byte> block = rows.AsSpan(at, blockBytes);
                if (type == TensorType.F32)
                {
                    BitConverter.TryWriteBytes(block, random.NextSingle() - 0.5f);
                }
                else
                {
                    BitConverter.TryWriteBytes(type == TensorType.Q6_K ? block[^2..] : block, type == TensorType.BF16 ? BitConverter.UInt16BitsToHalf(0x3C01) : (Half)0.01f);
                    if (type is TensorType.Q4_1 or TensorType.Q5_1 or TensorType.Q4_K or TensorType.Q5_K)
                    {
                        BitConverter.TryWriteBytes(block[2..], (Half)0.01f);
                    }
                }
            }

            byte* group = packed + (row / groupRows * PackedMatrix.GroupBytes(type, Size));
            new Span<byte>(group, (int)PackedMatrix.GroupBytes(type, Size)).Clear();
            fixed (byte* source = rows)
            {
                PackedMatrix.PackGroup(type, source, rowBytes, groupRows, Size, group);
            }
        }
    }

    private static float* Floats(int count) => (float*)NativeMemory.AlignedAlloc((nuint)count * sizeof(float), 64);

    private readonly record struct Ceilings(double Read, double Floats, double Bytes);
}
