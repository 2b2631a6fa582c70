using E2LLM.Kernels.MatMul;
using E2LLM.Weights;

namespace E2LLM.Execution;

/// <summary>
/// Up to three matrices times the same activations, as one run of the pool: tasks are ranges of rows. Reused from run to run by one executor.
/// </summary>
internal sealed unsafe class MultiplyWork(WorkerPool pool) : IWork
{
    // Enough tasks that a late or paused worker costs little, few enough that handing them out costs nothing.
    private const int TasksPerWorker = 8;

    private readonly Product[] _products = new Product[3];
    private int _count;
    private int _chunkRows;
    private Activations _x;
    private int _tokens;

    /// <summary>Adds <c>y[t] = matrix * x[t]</c> to the next run.</summary>
    /// <param name="matrix">The weights.</param>
    /// <param name="y">Output <c>[tokens][matrix.Rows]</c>.</param>
    internal MultiplyWork Add(WeightMatrix matrix, float* y)
    {
        _products[_count++] = new Product(matrix, y);
        return this;
    }

    /// <summary>Runs what was added, and forgets it.</summary>
    internal void Run(ActivationBuffer x, int tokens)
    {
        int rows = 0;
        for (int i = 0; i < _count; i++)
        {
            rows += _products[i].Matrix.Rows;
        }

        int wanted = pool.WorkerCount == 1 ? _count : pool.WorkerCount * TasksPerWorker;
        int chunk = pool.WorkerCount == 1 ? rows : (rows + wanted - 1) / wanted;
        _chunkRows = Math.Max(1, (chunk + PackedMatrix.SplitRows - 1) / PackedMatrix.SplitRows) * PackedMatrix.SplitRows;
        _x = x.All;
        _tokens = tokens;
        int tasks = 0;
        for (int i = 0; i < _count; i++)
        {
            tasks += Chunks(i);
        }

        try
        {
            pool.Run(this, tasks);
        }
        finally
        {
            _count = 0;
        }
    }

    void IWork.Run(int task, int worker)
    {
        int product = 0;
        while (task >= Chunks(product))
        {
            task -= Chunks(product++);
        }

        WeightMatrix matrix = _products[product].Matrix;
        int first = task * _chunkRows, end = Math.Min(first + _chunkRows, matrix.Rows);
        matrix.Multiply(first, end, _x, _tokens, _products[product].Y, matrix.Rows);
    }

    private int Chunks(int product) => (_products[product].Matrix.Rows + _chunkRows - 1) / _chunkRows;

    private readonly struct Product(WeightMatrix matrix, float* y)
    {
        internal readonly WeightMatrix Matrix = matrix;
        internal readonly float* Y = y;
    }
}
