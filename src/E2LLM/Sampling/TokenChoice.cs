namespace E2LLM.Sampling;

/// <summary>A token that was chosen, with its log-probabilities where <see cref="SamplingOptions.LogProbabilities"/> asks for them.</summary>
/// <param name="Id">Token id.</param>
/// <param name="LogProbability">Natural logarithm of the model's probability for it, before bias, penalties and temperature; null where it was not asked for.</param>
public readonly record struct TokenChoice(int Id, float? LogProbability = null)
{
    /// <summary>The most likely tokens by the model's own probabilities, most likely first, equal ones by id; the chosen one need not be among them.</summary>
    public IReadOnlyList<TokenLogProbability> Top { get => field ?? []; init; }
}

/// <summary>A token and the natural logarithm of its probability.</summary>
/// <param name="Id">Token id.</param>
/// <param name="LogProbability">Natural logarithm of the model's probability, before bias, penalties and temperature; minus infinity for an excluded token.</param>
public readonly record struct TokenLogProbability(int Id, float LogProbability);
