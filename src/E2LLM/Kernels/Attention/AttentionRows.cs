namespace E2LLM.Kernels.Attention;

/// <summary>The query rows that share one key/value head, and what attention keeps for each. Borrowed pointers; shapes in <see cref="AttentionBlock"/>.</summary>
internal readonly unsafe struct AttentionRows(
    int tokens, int heads, int headDim, int valueStride, float* queries, float* scores, float* maxima, float* sums, float* outputs)
{
    internal readonly int Tokens = tokens;
    internal readonly int Heads = heads;
    internal readonly int HeadDim = headDim;
    internal readonly int ValueStride = valueStride;
    internal readonly float* Queries = queries;
    internal readonly float* Scores = scores;
    internal readonly float* Maxima = maxima;
    internal readonly float* Sums = sums;
    internal readonly float* Outputs = outputs;

    /// <summary>Rows in all.</summary>
    internal int Count => Tokens * Heads;

    /// <summary>Makes the state that nothing was folded into: maximum minus infinity, sum and output zero.</summary>
    internal void Clear()
    {
        new Span<float>(Maxima, Count).Fill(float.NegativeInfinity);
        new Span<float>(Sums, Count).Clear();
        new Span<float>(Outputs, Count * ValueStride).Clear();
    }

    /// <summary>The rows from a token on.</summary>
    internal AttentionRows From(int token)
    {
        nint row = (nint)token * Heads;
        return new AttentionRows(
            Tokens - token, Heads, HeadDim, ValueStride, Queries + (row * HeadDim), Scores + (row * AttentionBlock.Positions), Maxima + row, Sums + row, Outputs + (row * ValueStride));
    }
}
