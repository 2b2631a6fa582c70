using E2LLM.Kernels.Elementwise;
using E2LLM.Weights;

namespace E2LLM.Execution;

/// <summary>RMS-normalises rows into an <see cref="ActivationBuffer"/>.</summary>
internal sealed unsafe class NormWork(WorkerPool pool, int width, float epsilon) : TokenWork(pool)
{
    private float* _x;
    private AlignedBuffer? _weight;
    private ActivationBuffer? _y;

    /// <summary><c>y[t] = norm(x[t]) * weight</c>, x <c>[tokens][width]</c>.</summary>
    internal void Run(float* x, AlignedBuffer weight, ActivationBuffer y, int tokens)
    {
        _x = x;
        _weight = weight;
        _y = y;
        RunTokens(tokens);
    }

    protected override void RunToken(int token)
    {
        RmsNorm.Run(_x + ((nint)token * width), _weight!.Floats, width, epsilon, _y!.Row(token));
        _y.Complete(token);
    }
}

/// <summary>Gates the feed-forward rows into an <see cref="ActivationBuffer"/>.</summary>
internal sealed unsafe class GateWork(WorkerPool pool, int width) : TokenWork(pool)
{
    private float* _up;
    private ActivationBuffer? _gated;

    /// <summary><c>gated[t] = silu(gated[t]) * up[t]</c>; the buffer's rows hold the gate before.</summary>
    internal void Run(ActivationBuffer gated, float* up, int tokens)
    {
        _gated = gated;
        _up = up;
        RunTokens(tokens);
    }

    protected override void RunToken(int token)
    {
        SwiGlu.Run(_gated!.Row(token), _up + ((nint)token * width), width);
        _gated.Complete(token);
    }
}

/// <summary>Adds a layer's output to the residual stream.</summary>
internal sealed unsafe class ResidualWork(WorkerPool pool, int width) : TokenWork(pool)
{
    private float* _x, _y;

    /// <summary><c>y[t] += x[t]</c>.</summary>
    internal void Run(float* x, float* y, int tokens)
    {
        _x = x;
        _y = y;
        RunTokens(tokens);
    }

    protected override void RunToken(int token) => AddTo.Run(_x + ((nint)token * width), width, _y + ((nint)token * width));
}

/// <summary>Derives the other forms of rows that were written as floats.</summary>
internal sealed class CompleteWork(WorkerPool pool) : TokenWork(pool)
{
    private ActivationBuffer? _rows;

    /// <summary>Completes rows <c>[0, tokens)</c>.</summary>
    internal void Run(ActivationBuffer rows, int tokens)
    {
        _rows = rows;
        RunTokens(tokens);
    }

    protected override void RunToken(int token) => _rows!.Complete(token);
}
