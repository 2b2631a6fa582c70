using E2LLM.Replicas.Connections;
using E2LLM.Sampling;

namespace E2LLM.Replicas.Stages;

/// <summary>What a driver needs to open a sequence.</summary>
internal sealed record SequenceStart
{
    /// <summary>Token ids from position zero on.</summary>
    public required IReadOnlyList<int> Prompt { get; init; }

    public required byte[] TokenHash { get; init; }

    public required SamplingOptions Sampling { get; init; }

    /// <summary>Positions to reserve.</summary>
    public required int CapacityTokenCount { get; init; }

    /// <summary>Tokens to sample at most.</summary>
    public required int MaxNewTokenCount { get; init; }

    public Predicate<int>? EndsAt { get; init; }

    /// <summary>Whether the prompt's keys and values come from another replica.</summary>
    public bool Imports { get; init; }

    /// <summary>Whether stages that import may begin with pages that they kept.</summary>
    public bool AdoptsPages { get; init; }

    /// <summary>Whether layer 0 is computed where it is imported, instead of moved.</summary>
    public bool ComputesFirstLayer { get; init; }

    /// <summary>Trace that the request belongs to; null where nobody traces.</summary>
    public string? TraceParent { get; init; }

    /// <summary>Where the prompt's keys and values go as they are computed.</summary>
    public IReadOnlyList<KvTarget> Targets { get; init; } = [];
}
