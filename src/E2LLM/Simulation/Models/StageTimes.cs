namespace E2LLM.Simulation.Models;

/// <summary>How long one pass through a stage takes. Implementations are pure functions of their arguments.</summary>
internal abstract class StageTimes
{
    /// <summary>Seconds of one pass.</summary>
    /// <param name="chunkTokens">Prompt tokens in the pass; zero for none.</param>
    /// <param name="chunkContext">Cached tokens that the prompt tokens follow (token-weighted mean where several prompts share the pass).</param>
    /// <param name="decodeCount">Sequences that decode one token in the same pass.</param>
    /// <param name="decodeContext">Mean of their cached tokens.</param>
    /// <param name="headRows">Rows that the head has to score: one for each decoding sequence and for each prompt that ends here.</param>
    public abstract double PassSeconds(int chunkTokens, double chunkContext, int decodeCount, double decodeContext, int headRows);
}
