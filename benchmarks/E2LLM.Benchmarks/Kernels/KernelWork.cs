using BenchmarkDotNet.Running;

namespace E2LLM.Benchmarks.Kernels;

/// <summary>What one invocation of a kernel reads and computes, and how fast each could go at most: whatever takes longer at its ceiling bounds the kernel (the roofline).</summary>
/// <param name="Bytes">Bytes of weights, of keys and values, or of rows.</param>
/// <param name="BytesCeiling">Name and bytes per second.</param>
/// <param name="Operations">Multiplications and additions.</param>
/// <param name="OperationsCeiling">Name and operations per second.</param>
internal sealed record KernelWork(double Bytes, (string Name, double Rate) BytesCeiling, double Operations, (string Name, double Rate) OperationsCeiling)
{
    private bool IsBoundByBytes => Bytes / BytesCeiling.Rate >= Operations / OperationsCeiling.Rate;

    /// <summary>Seconds at the ceiling.</summary>
    public double LeastSeconds => Math.Max(Bytes / BytesCeiling.Rate, Operations / OperationsCeiling.Rate);

    /// <summary>The ceiling that bounds, in the unit of its column.</summary>
    public string Ceiling => IsBoundByBytes
        ? FormattableString.Invariant($"{BytesCeiling.Name} {BytesCeiling.Rate / 1e9:F1} GB/s")
        : FormattableString.Invariant($"{OperationsCeiling.Name} {OperationsCeiling.Rate / 1e9:F0} Gop/s");

    /// <summary>The work of one benchmark with its parameters.</summary>
    public static KernelWork Of(BenchmarkCase benchmark, Ceilings ceilings) => benchmark.Descriptor.WorkloadMethod.Name switch
    {
        nameof(ProductKernels.MatVec) => ProductKernels.WorkOfMatVec((TensorType)benchmark.Parameters[nameof(ProductKernels.Weights)], ceilings),
        nameof(ProductKernels.MatMat) => ProductKernels.WorkOfMatMat((TensorType)benchmark.Parameters[nameof(ProductKernels.Weights)], ceilings),
        nameof(AttentionKernels.Attention) => AttentionKernels.Work(
            (string)benchmark.Parameters[nameof(AttentionKernels.Model)], (KvElementType)benchmark.Parameters[nameof(AttentionKernels.Cache)], ceilings),
        nameof(RowKernels.Row) => RowKernels.Work((string)benchmark.Parameters[nameof(RowKernels.Operation)], ceilings),
        var other => throw new ArgumentException($"No work is known of '{other}'.", nameof(benchmark)),
    };
}
