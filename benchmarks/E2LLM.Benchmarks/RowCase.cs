using System.Runtime.InteropServices;
using E2LLM.Kernels.Elementwise;
using E2LLM.Kernels.Quantization;

namespace E2LLM.Benchmarks;

/// <summary>Rows of 2048 activations in the first-level cache, and what is done to them between two products. Owns its memory.</summary>
internal sealed unsafe class RowCase : IDisposable
{
    public const int Width = 2048;
    private const int Heads = 32;
    private const int HeadDim = Width / Heads;

    private readonly float* _x = Floats(), _y = Floats(), _z = Floats();

    // A real angle: a rotation that stretches would end at infinity.
    private readonly float* _cosines = Floats(_ => 0.6f), _sines = Floats(_ => 0.8f);
    private readonly float* _quants = Floats(), _scales = Floats(), _sums = Floats();

    public RowCase() => Operations =
    [
        // The row is read twice.
        new("RMS norm", 12, 4, () => RmsNorm.Run(_x, _z, Width, 1e-5f, _y)),

        // Twenty for the exponential, two additions, a product and a quotient.
        new("SwiGLU", 8, 24, () => SwiGlu.Run(_y, _x, Width)),
        new("add", 8, 1, () => AddTo.Run(_x, Width, _y)),

        // Every head reads all angles.
        new("rotate 32 heads of 64", 8, 3, Rotate),

        // Magnitude, maximum, product, rounding.
        new("quantise, blocks of 32", 4, 4, () => QuantizeActivations.Run(_x, Width, (sbyte*)_quants, _scales, (int*)_sums)),
        new("quantise, blocks of 256", 4, 4, () => QuantizeActivations256.Run(_x, Width, (sbyte*)_quants, _scales, (short*)_sums)),
    ];

    /// <summary>The operations. Some work in place, so that their numbers fade or grow: none of them is slower for it.</summary>
    public IReadOnlyList<RowOperation> Operations { get; }

    public void Dispose()
    {
        foreach (nint memory in new[] { (nint)_x, (nint)_y, (nint)_z, (nint)_cosines, (nint)_sines, (nint)_quants, (nint)_scales, (nint)_sums })
        {
            NativeMemory.AlignedFree((void*)memory);
        }
    }

    private static float* Floats(Func<int, float>? value = null)
    {
        float* memory = (float*)NativeMemory.AlignedAlloc(Width * sizeof(float), 64);
        for (int i = 0; i < Width; i++)
        {
            memory[i] = value is null ? ((i * 37 % 101) - 50) / 50f : value(i);
        }

        return memory;
    }

    private void Rotate()
    {
        for (int head = 0; head < Heads; head++)
        {
            Rope.RotateInterleaved(_y + (head * HeadDim), _cosines, _sines, HeadDim / 2);
        }
    }
}

/// <summary>What is done to one row.</summary>
/// <param name="Name">For the reader.</param>
/// <param name="ElementBytes">Bytes read for an element; those written go another way than those read.</param>
/// <param name="ElementOperations">Float operations on an element; comparisons and conversions count as one.</param>
/// <param name="Run">Does it once.</param>
internal sealed record RowOperation(string Name, double ElementBytes, double ElementOperations, Action Run)
{
    public override string ToString() => Name;
}
