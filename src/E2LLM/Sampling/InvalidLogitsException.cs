namespace E2LLM.Sampling;

/// <summary>A model's output cannot be sampled from: some logit is NaN, or none is finite. The weights or the input are broken.</summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Design", "CA1032", Justification = "Only the sampler makes one, with its place.")]
public sealed class InvalidLogitsException : ArithmeticException
{
    internal InvalidLogitsException(int tokenId, int position, float logit)
        : base($"The logit of token {tokenId} at position {position} is {logit}: the model's output is not a distribution.")
    {
        TokenId = tokenId;
        Position = position;
    }

    /// <summary>The first token whose logit is NaN; where none is, the first whose logit is plus infinity, or token 0 where all are minus infinity.</summary>
    public int TokenId { get; }

    /// <summary>The position whose token was to be chosen.</summary>
    public int Position { get; }
}
