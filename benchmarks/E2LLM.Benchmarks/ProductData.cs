using System.Runtime.InteropServices;
using E2LLM.Kernels.MatMul;
using E2LLM.Kernels.Quantization;

namespace E2LLM.Benchmarks;

/// <summary>A product of one type to be timed: some packed matrices alike, activations in every form, and room for the outputs. Owns its memory.</summary>
internal sealed unsafe class ProductData : IDisposable
{
    private readonly List<nint> _memory = [];

    public ProductData(TensorType type, int rows, int columns, int tokens, int copies = 1)
    {
        Bytes = PackedMatrix.MatrixBytes(type, rows, columns);
        Weights = Allocate(Bytes * copies);
        Fill(type, rows, columns, Weights);
        for (int copy = 1; copy < copies; copy++)
        {
            Buffer.MemoryCopy(Weights, Weights + (copy * Bytes), Bytes, Bytes);
        }

        int count = tokens * columns;
        float* x = (float*)Allocate((long)count * sizeof(float)), scales = (float*)Allocate(count / 32 * sizeof(float));
        sbyte* quants = (sbyte*)Allocate(count);
        int* sums = (int*)Allocate(count / 16 * sizeof(int));
        Y = (float*)Allocate((long)tokens * rows * sizeof(float));
        var random = new Random(1);
        for (int i = 0; i < count; i++)
        {
            x[i] = random.NextSingle() - 0.5f;
        }

        if (PackedMatrix.FormOf(type) == ActivationForm.Blocks256)
        {
            QuantizeActivations256.Run(x, count, quants, scales, (short*)sums);
        }
        else
        {
            QuantizeActivations.Run(x, count, quants, scales, sums);
        }

        X = new Activations(x, new QuantizedActivations(quants, scales, sums), new SuperBlockActivations(quants, scales, (short*)sums));
    }

    /// <summary>Bytes of one packed matrix.</summary>
    public long Bytes { get; }

    /// <summary>The matrices, one after another.</summary>
    public byte* Weights { get; }

    /// <summary>Activations.</summary>
    public Activations X { get; }

    /// <summary>Outputs.</summary>
    public float* Y { get; }

    public void Dispose()
    {
        foreach (nint block in _memory)
        {
            NativeMemory.AlignedFree((void*)block);
        }

        _memory.Clear();
    }

    /// <summary>Random quants, with factors of ordinary size.</summary>
    private static void Fill(TensorType type, int rowCount, int columns, byte* packed)
    {
        int blockBytes = TensorTypeGeometry.BlockBytes(type);
        long rowBytes = TensorTypeGeometry.RowBytes(type, columns);
        int groupRows = PackedMatrix.GroupRows(type);
        byte[] rows = new byte[groupRows * rowBytes];
        var random = new Random(2);
        for (int row = 0; row < rowCount; row += groupRows)
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

            byte* group = packed + (row / groupRows * PackedMatrix.GroupBytes(type, columns));
            new Span<byte>(group, (int)PackedMatrix.GroupBytes(type, columns)).Clear();
            fixed (byte* source = rows)
            {
                PackedMatrix.PackGroup(type, source, rowBytes, groupRows, columns, group);
            }
        }
    }

    private byte* Allocate(long bytes)
    {
        void* block = NativeMemory.AlignedAlloc((nuint)bytes, 64);
        _memory.Add((nint)block);
        return (byte*)block;
    }
}
