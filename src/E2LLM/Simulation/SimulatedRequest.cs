namespace E2LLM.Simulation;

/// <summary>A request as the outside world sends it. Immutable.</summary>
/// <param name="ArrivalSeconds">When it comes, seconds from the start of the run; not before the request ahead of it.</param>
/// <param name="PromptTokens">Tokens of its prompt. Zero counts as one where output is asked for: a sequence begins with something.</param>
/// <param name="OutputTokens">Tokens to generate. Zero: the prompt is passed over and nothing comes out.</param>
public readonly record struct SimulatedRequest(double ArrivalSeconds, int PromptTokens, int OutputTokens);

/// <summary>What happened to a request. Times are seconds since the start of the run. Immutable.</summary>
public readonly record struct CompletedRequest
{
    /// <summary>Its place in the order of arrival, from 0.</summary>
    public long Id { get; init; }

    /// <summary>As sent.</summary>
    public SimulatedRequest Request { get; init; }

    /// <summary>Index of the replica that passed over its prompt; -1 where there was nothing to do.</summary>
    public int PrefillReplica { get; init; }

    /// <summary>Index of the replica that decoded; equal to <see cref="PrefillReplica"/> where the KV cache did not move.</summary>
    public int DecodeReplica { get; init; }

    /// <summary>When its first prompt token entered a pass.</summary>
    public double PrefillStartSeconds { get; init; }

    /// <summary>When its first token was there.</summary>
    public double FirstTokenSeconds { get; init; }

    /// <summary>When its KV cache was complete at the decode replica.</summary>
    public double KvReadySeconds { get; init; }

    /// <summary>When it entered its first decode step; NaN where the first token was the last.</summary>
    public double DecodeStartSeconds { get; init; }

    /// <summary>When its last token was there.</summary>
    public double EndSeconds { get; init; }

    /// <summary>Longest time between two of its tokens.</summary>
    public double LongestGapSeconds { get; init; }
}
