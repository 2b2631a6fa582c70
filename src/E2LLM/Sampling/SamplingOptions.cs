namespace E2LLM.Sampling;

/// <summary>How the next token is chosen. Immutable. The default is greedy.</summary>
public sealed record SamplingOptions
{
    /// <summary>Divides the logits; 0 (default) takes the most likely token. At least 0.</summary>
    public float Temperature { get; init; }

    /// <summary>Keeps this many of the most likely tokens; 0 (default) keeps all. At least 0.</summary>
    public int TopK { get; init; }

    /// <summary>Keeps the fewest most likely tokens whose probabilities reach this sum; 1 (default) keeps all. Above 0, at most 1.</summary>
    public float TopP { get; init; } = 1f;

    /// <summary>Drops tokens less likely than this share of the most likely one; 0 (default) drops none. 0 to 1.</summary>
    public float MinP { get; init; }

    /// <summary>Together with a token's position it fixes the random number that chooses it. Default 0.</summary>
    public ulong Seed { get; init; }

    /// <summary>Checks the numbers.</summary>
    /// <exception cref="ArgumentOutOfRangeException">One is out of its range.</exception>
    public void Validate()
    {
        Check(float.IsFinite(Temperature) && Temperature >= 0f, nameof(Temperature), Temperature, "0 or more");
        Check(TopK >= 0, nameof(TopK), TopK, "0 or more");
        Check(TopP is > 0f and <= 1f, nameof(TopP), TopP, "above 0, at most 1");
        Check(MinP is >= 0f and <= 1f, nameof(MinP), MinP, "0 to 1");
    }

    private static void Check(bool holds, string name, object value, string expected)
    {
        if (!holds)
        {
            throw new ArgumentOutOfRangeException(name, value, $"{name} must be {expected}.");
        }
    }
}
