using E2LLM.Simulation;

namespace E2LLM.Samples.EdgeCluster.Fidelity;

/// <summary>What one request got. Immutable.</summary>
/// <param name="PromptTokens">Length of its prompt.</param>
/// <param name="OutputTokens">Tokens that came out.</param>
/// <param name="TtftSeconds">Time to first token.</param>
/// <param name="TpotSeconds">Time per token after the first.</param>
/// <param name="Prefill">Replica that read its prompt.</param>
/// <param name="Decode">Replica that generated.</param>
internal sealed record MeasuredRequest(int PromptTokens, int OutputTokens, double TtftSeconds, double TpotSeconds, string Prefill, string Decode)
{
    public (int Prompt, int Output) Lengths => (PromptTokens, OutputTokens);

    public double EndToEndSeconds => TtftSeconds + (TpotSeconds * (OutputTokens - 1));

    /// <summary>A simulated request as if it had been measured.</summary>
    /// <param name="one">The request.</param>
    /// <param name="names">Names of the plan's replicas.</param>
    public static MeasuredRequest From(CompletedRequest one, IReadOnlyList<string> names) => new(
        one.Request.PromptTokens, one.Request.OutputTokens, one.FirstTokenSeconds - one.Request.ArrivalSeconds,
        (one.EndSeconds - one.FirstTokenSeconds) / Math.Max(1, one.Request.OutputTokens - 1), names[one.PrefillReplica], names[one.DecodeReplica]);
}
