using BenchmarkDotNet.Attributes;

namespace E2LLM.Benchmarks.Kernels;

/// <summary>What is done to one row of 2048 activations between two products, on one thread.</summary>
public class RowKernels : IDisposable
{
    // A row takes a tenth of a microsecond: one call for each would be seen.
    private const int Rounds = 1000;

    private RowCase? _rows;
    private Action _run = () => { };

    public static IEnumerable<string> Operations
    {
        get
        {
            using var rows = new RowCase();
            return [.. rows.Operations.Select(operation => operation.Name)];
        }
    }

    [ParamsSource(nameof(Operations))]
    public string Operation { get; set; } = "";

    [GlobalSetup]
    public void SetUp()
    {
        _rows = new RowCase();
        _run = _rows.Operations.Single(operation => operation.Name == Operation).Run;
    }

    [Benchmark(OperationsPerInvoke = Rounds)]
    public void Row()
    {
        for (int round = 0; round < Rounds; round++)
        {
            _run();
        }
    }

    [GlobalCleanup]
    public void Dispose()
    {
        _rows?.Dispose();
        GC.SuppressFinalize(this);
    }

    internal static KernelWork Work(string name, Ceilings ceilings)
    {
        using var rows = new RowCase();
        RowOperation operation = rows.Operations.Single(operation => operation.Name == name);
        return new KernelWork(
            operation.ElementBytes * RowCase.Width, ("first-level cache", ceilings.Near), operation.ElementOperations * RowCase.Width, ("FMA-512", ceilings.Floats));
    }
}
