using E2LLM.Kernels.Attention;
using E2LLM.Weights;

namespace E2LLM.Execution;

/// <summary>What one worker needs while it attends: a decoded block, gathered queries, and two sets of running results. Owns its memory.</summary>
internal sealed unsafe class AttentionScratch : IDisposable
{
    private readonly int _headDim, _valueStride, _maxRows;
    private readonly AlignedBuffer _memory;

    /// <param name="headDim">Elements of a head.</param>
    /// <param name="valueStride">Elements of a stored value head.</param>
    /// <param name="maxRows">Query rows at most.</param>
    internal AttentionScratch(int headDim, int valueStride, int maxRows)
    {
        (_headDim, _valueStride, _maxRows) = (headDim, valueStride, maxRows);
        long block = (long)AttentionBlock.Positions * (headDim + valueStride);
        long rows = (long)maxRows * (headDim + AttentionBlock.Positions + (2 * (2 + valueStride)));
        _memory = new AlignedBuffer((block + rows) * sizeof(float));
    }

    /// <summary>A decoded block of keys, <c>[headDim][64]</c>.</summary>
    internal float* Keys => _memory.Floats;

    /// <summary>A decoded block of values, <c>[64][valueStride]</c>.</summary>
    internal float* Values => Keys + (AttentionBlock.Positions * _headDim);

    private float* Scores => Values + (AttentionBlock.Positions * _valueStride);

    private float* Queries => Scores + ((nint)_maxRows * AttentionBlock.Positions);

    /// <summary>Rows to fold blocks into.</summary>
    internal AttentionRows Segment(int tokens, int heads)
    {
        float* outputs = Queries + ((nint)_maxRows * _headDim), maxima = outputs + (2 * (nint)_maxRows * _valueStride);
        return new AttentionRows(tokens, heads, _headDim, _valueStride, Queries, Scores, maxima, maxima + _maxRows, outputs);
    }

    /// <summary>Rows that segments are merged into; they share the queries of <see cref="Segment"/>.</summary>
    internal AttentionRows Merged(int tokens, int heads)
    {
        float* outputs = Queries + ((nint)_maxRows * (_headDim + _valueStride)), maxima = outputs + ((nint)_maxRows * (_valueStride + 2));
        return new AttentionRows(tokens, heads, _headDim, _valueStride, Queries, Scores, maxima, maxima + _maxRows, outputs);
    }

    public void Dispose() => _memory.Dispose();
}
