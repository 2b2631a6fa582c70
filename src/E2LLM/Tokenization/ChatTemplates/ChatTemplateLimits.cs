namespace E2LLM.Tokenization;

/// <summary>What a template, which comes with a model file and is thus a stranger's program, may use up. Immutable; thread-safe.</summary>
public sealed record ChatTemplateLimits
{
    /// <summary>The limits that hold where none are given; generous for templates in use.</summary>
    public static ChatTemplateLimits Default { get; } = new();

    /// <summary>Characters of the source. Bounds parsing. Default 262,144.</summary>
    public int MaxSourceLength { get; init; } = 1 << 18;

    /// <summary>Expressions evaluated, loops included, plus the items of lists and a sixteenth of the characters that they make. Bounds time: no template loops for ever. Default 10 million.</summary>
    public long MaxStepCount { get; init; } = 10_000_000;

    /// <summary>Characters of the result and of every text on the way to it. Bounds memory. Default 4,194,304.</summary>
    public int MaxOutputLength { get; init; } = 1 << 22;

    /// <summary>Expressions, blocks and macro calls inside each other. Bounds the stack. Default 100.</summary>
    public int MaxDepth { get; init; } = 100;

    /// <summary>Checks the values.</summary>
    /// <exception cref="ArgumentOutOfRangeException">One is not above 0, or the depth is above 200.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxSourceLength, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxStepCount, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxOutputLength, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(MaxDepth, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(MaxDepth, 200);
    }
}
