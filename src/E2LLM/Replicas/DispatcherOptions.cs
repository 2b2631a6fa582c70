namespace E2LLM.Replicas;

/// <summary>How requests are spread over replicas. Immutable; thread-safe.</summary>
public sealed record DispatcherOptions
{
    /// <summary>
    /// Times that a request is continued on other replicas after a device was lost, before the loss is passed on. Default 8; 0 passes on the first.
    /// </summary>
    public int MaxRecoveryCount { get; init; } = 8;

    /// <summary>Clock for <see cref="RequestReport"/>.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Checks the values.</summary>
    /// <exception cref="ArgumentException">One is outside its range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfNegative(MaxRecoveryCount);
        ArgumentNullException.ThrowIfNull(TimeProvider);
    }
}
