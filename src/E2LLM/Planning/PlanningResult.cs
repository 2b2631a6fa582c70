using E2LLM.Deployment;

namespace E2LLM.Planning;

/// <summary>What planning gives: a plan, or the reason why there is none. Immutable.</summary>
public sealed record PlanningResult
{
    private PlanningResult()
    {
    }

    /// <summary>The plan; null where there is none.</summary>
    public DeploymentPlan? Plan { get; private init; }

    /// <summary>Why there is no plan; null where there is one.</summary>
    public Infeasible? Infeasible { get; private init; }

    /// <summary>Whether there is a plan.</summary>
    [System.Diagnostics.CodeAnalysis.MemberNotNullWhen(true, nameof(Plan))]
    [System.Diagnostics.CodeAnalysis.MemberNotNullWhen(false, nameof(Infeasible))]
    public bool IsFeasible => Plan is not null;

    /// <summary>A result with a plan.</summary>
    internal static PlanningResult Of(DeploymentPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        return new PlanningResult { Plan = plan };
    }

    /// <summary>A result without one.</summary>
    internal static PlanningResult None(Infeasible reason)
    {
        ArgumentNullException.ThrowIfNull(reason);
        return new PlanningResult { Infeasible = reason };
    }
}

/// <summary>The constraint that no plan satisfies. Immutable.</summary>
public sealed record Infeasible
{
    /// <summary><c>input</c>, <c>memory</c>, <c>links</c>, <c>minimumDecodeSpeed</c> or <c>roles</c>.</summary>
    public required string Constraint { get; init; }

    /// <summary>Where: a device, a property of the description, or <c>cluster</c>.</summary>
    public required string At { get; init; }

    /// <summary>Bytes that would be needed; 0 where bytes are not the matter.</summary>
    public long NeedBytes { get; init; }

    /// <summary>Bytes that there are.</summary>
    public long HaveBytes { get; init; }

    /// <summary>The reason in a sentence.</summary>
    public required string Message { get; init; }

    /// <summary>Writes <c>{ "infeasible": { … } }</c>.</summary>
    public string ToJson()
    {
        using var stream = new MemoryStream();
        using (var json = new System.Text.Json.Utf8JsonWriter(stream, new System.Text.Json.JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteStartObject("infeasible");
            json.WriteString("constraint", Constraint);
            json.WriteString("at", At);
            json.WriteNumber("needBytes", NeedBytes);
            json.WriteNumber("haveBytes", HaveBytes);
            json.WriteString("message", Message);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return System.Text.Encoding.UTF8.GetString(stream.ToArray());
    }
}

/// <summary>How far a search is. Immutable.</summary>
/// <param name="Phase">What is being done.</param>
/// <param name="DoneFraction">Share of the phase that is done, 0 to 1.</param>
/// <param name="BestValue">Capacity of the best plan so far, requests per second.</param>
/// <param name="Bound">Its bound, where one is known; else positive infinity.</param>
public readonly record struct PlanningProgress(string Phase, double DoneFraction, double BestValue, double Bound);
