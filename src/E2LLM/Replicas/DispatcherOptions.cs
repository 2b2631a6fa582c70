using Microsoft.Extensions.Logging;

namespace E2LLM.Replicas;

/// <summary>How requests are spread over replicas. Immutable; thread-safe.</summary>
public sealed record DispatcherOptions
{
    /// <summary>
    /// Times that a request is continued on other replicas after a device was lost, before the loss is passed on. Default 8; 0 passes on the first.
    /// </summary>
    public int MaxRecoveryCount { get; init; } = 8;

    /// <summary>
    /// A request whose beginning a replica still holds from an earlier one goes on there, without another replica to read it, where at most this many tokens
    /// are new. Default 512; 0 never.
    /// </summary>
    public int NextTurnTokenCount { get; init; } = 512;

    /// <summary>
    /// Asked for a new plan whenever a device was lost; requests that nothing is left for wait for it, at most as often as
    /// <see cref="MaxRecoveryCount"/> says. For dispatchers made by <see cref="Dispatcher.ConnectAsync"/>. Null (default): what is left serves, or nothing does.
    /// </summary>
    public PlanMaker? Replan { get; init; }

    /// <summary>Clock for <see cref="RequestReport"/>.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Makes the loggers (category <c>E2LLM.Replicas.Dispatcher</c>, and those of the replicas that it connects); null (default) logs nothing. Counts, names and reasons only, never text; what there is: Diagnostics/README.md.</summary>
    public ILoggerFactory? LoggerFactory { get; init; }

    /// <summary>Checks the values.</summary>
    /// <exception cref="ArgumentException">One is outside its range.</exception>
    public void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfNegative(MaxRecoveryCount);
        ArgumentOutOfRangeException.ThrowIfNegative(NextTurnTokenCount);
        ArgumentNullException.ThrowIfNull(TimeProvider);
    }
}
