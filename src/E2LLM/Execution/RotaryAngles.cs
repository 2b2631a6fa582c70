using E2LLM.Kernels.Elementwise;
using E2LLM.Weights;

namespace E2LLM.Execution;

/// <summary>Cosines and sines of the positions in a piece, computed once for all layers. Owns its memory.</summary>
internal sealed unsafe class RotaryAngles : IDisposable
{
    private readonly AlignedBuffer _inverseFrequencies, _cosines, _sines;

    internal RotaryAngles(ModelShape shape, AlignedBuffer? factors, int maxTokenCount)
    {
        Pairs = shape.RopeDimensionCount / 2;
        _inverseFrequencies = new AlignedBuffer((long)Pairs * sizeof(double));
        _cosines = new AlignedBuffer((long)maxTokenCount * Pairs * sizeof(float));
        _sines = new AlignedBuffer((long)maxTokenCount * Pairs * sizeof(float));
        ReadOnlySpan<float> divisors = factors is null ? [] : new ReadOnlySpan<float>(factors.Floats, Pairs);
        Rope.FillInverseFrequencies(
            shape.RopeTheta, shape.RopePositionDivisor, divisors, new Span<double>(_inverseFrequencies.Pointer, Pairs));
    }

    /// <summary>Pairs of elements that are rotated.</summary>
    internal int Pairs { get; }

    /// <summary>Computes the angles of every token of a piece.</summary>
    internal void Fill(BatchPiece piece)
    {
        for (int token = 0; token < piece.TokenCount; token++)
        {
            Rope.FillAngles(piece.PositionOf(token), (double*)_inverseFrequencies.Pointer, Pairs, Cosines(token), Sines(token));
        }
    }

    /// <summary>Cosines of one token, <c>[Pairs]</c>.</summary>
    internal float* Cosines(int token) => _cosines.Floats + ((nint)token * Pairs);

    /// <summary>Sines of one token, <c>[Pairs]</c>.</summary>
    internal float* Sines(int token) => _sines.Floats + ((nint)token * Pairs);

    public void Dispose()
    {
        _inverseFrequencies.Dispose();
        _cosines.Dispose();
        _sines.Dispose();
    }
}
