using BenchmarkDotNet.Attributes;

namespace E2LLM.Benchmarks.Kernels;

/// <summary>Products of a 2048 x 2048 matrix on one thread.</summary>
public class ProductKernels : IDisposable
{
    private MatMulCase? _product;

    [ParamsAllValues]
    public TensorType Weights { get; set; }

    [GlobalSetup(Target = nameof(MatVec))]
    public void SetUpMatVec() => _product = new MatMulCase(Weights);

    [GlobalSetup(Target = nameof(MatMat))]
    public void SetUpMatMat() => _product = new MatMulCase(Weights, streams: false);

    /// <summary>One token, matrices of 192 MB one after another.</summary>
    [Benchmark]
    public void MatVec() => _product!.Stream(1);

    /// <summary>256 tokens, one matrix.</summary>
    [Benchmark]
    public void MatMat() => _product!.MultiplyMany();

    [GlobalCleanup]
    public void Dispose()
    {
        _product?.Dispose();
        GC.SuppressFinalize(this);
    }

    internal static KernelWork WorkOfMatVec(TensorType type, Ceilings ceilings)
    {
        int copies = MatMulCase.CopyCount(type);
        return new KernelWork((double)MatMulCase.MatrixBytes(type) * copies, ("read", ceilings.Read), MatMulCase.Operations(1) * copies, ceilings.OfProducts(type));
    }

    internal static KernelWork WorkOfMatMat(TensorType type, Ceilings ceilings) =>
        new(MatMulCase.MatrixBytes(type), ("read", ceilings.Read), MatMulCase.Operations(MatMulCase.ManyTokens), ceilings.OfProducts(type));
}
