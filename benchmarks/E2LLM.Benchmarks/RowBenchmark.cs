using System.Runtime.InteropServices;
using E2LLM.Kernels.Elementwise;
using E2LLM.Kernels.Quantization;

namespace E2LLM.Benchmarks;

/// <summary>What is done to one row of activations between two products, in microseconds for 2048 elements on one thread: none of it should be seen beside a product.</summary>
internal static unsafe class RowBenchmark
{
    private const int Width = 2048;
    private const int Rounds = 2000;

    public static void Run()
    {
        float* x = Floats(), y = Floats(), z = Floats();
        int* sums = (int*)Floats();
        Print("RMS norm", () => RmsNorm.Run(x, z, Width, 1e-5f, y));
        Print("SwiGLU", () => SwiGlu.Run(y, x, Width));
        Print("add", () => AddTo.Run(x, Width, y));
        Print("rotate 32 heads of 64", () =>
        {
            for (int head = 0; head < 32; head++)
            {
                Rope.RotateInterleaved(y + (head * 64), x, z, 32);
            }
        });
        Print("quantise, blocks of 32", () => QuantizeActivations.Run(x, Width, (sbyte*)y, z, sums));
        Print("quantise, blocks of 256", () => QuantizeActivations256.Run(x, Width, (sbyte*)y, z, (short*)sums));
        foreach (nint memory in new[] { (nint)x, (nint)y, (nint)z, (nint)sums })
        {
            NativeMemory.AlignedFree((void*)memory);
        }
    }

    private static void Print(string name, Action action)
    {
        (double least, double median) = Clock.Seconds(9, () =>
        {
            for (int round = 0; round < Rounds; round++)
            {
                action();
            }
        });
        Console.WriteLine($"{name,-24} {least / Rounds * 1e6,8:F2} us | {median / Rounds * 1e6,8:F2} us   (least of 9 | median)");
    }

    private static float* Floats()
    {
        float* memory = (float*)NativeMemory.AlignedAlloc(Width * sizeof(float), 64);
        for (int i = 0; i < Width; i++)
        {
            memory[i] = ((i * 37 % 101) - 50) / 50f;
        }

        return memory;
    }
}
