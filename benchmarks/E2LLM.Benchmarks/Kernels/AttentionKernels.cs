using BenchmarkDotNet.Attributes;
using E2LLM.Execution;

namespace E2LLM.Benchmarks.Kernels;

/// <summary>Attention of one token over 2,000 positions in every layer of a model, on one thread.</summary>
public class AttentionKernels : IDisposable
{
    private const int Depth = 2000;

    private AttentionCase? _attention;
    private WorkerPool? _pool;
    private AttentionWork? _work;

    public static IEnumerable<string> Models => AttentionCase.Shapes.Select(shape => shape.Name);

    [ParamsSource(nameof(Models))]
    public string Model { get; set; } = "";

    [ParamsAllValues]
    public KvElementType Cache { get; set; }

    [GlobalSetup]
    public void SetUp()
    {
        _attention = new AttentionCase(Shape(Model), Cache, Depth);
        _pool = new WorkerPool(1);
        _work = _attention.Work(_pool);
    }

    [Benchmark]
    public void Attention() => _attention!.Run(_work!);

    [GlobalCleanup]
    public void Dispose()
    {
        _work?.Dispose();
        _pool?.Dispose();
        _attention?.Dispose();
        GC.SuppressFinalize(this);
    }

    internal static KernelWork Work(string model, KvElementType cache, Ceilings ceilings) => new(
        AttentionCase.Bytes(Shape(model), cache, Depth), ("read", ceilings.Read), AttentionCase.Operations(Shape(model), Depth), ("FMA-512", ceilings.Floats));

    private static ModelShape Shape(string model) => AttentionCase.Shapes.Single(shape => shape.Name == model);
}
