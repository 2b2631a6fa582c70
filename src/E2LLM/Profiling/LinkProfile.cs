using E2LLM.Costs;

namespace E2LLM.Profiling;

/// <summary>A measured connection. Immutable.</summary>
/// <param name="ToResponder">From the side that measured to the one that answered.</param>
/// <param name="FromResponder">The reverse direction; the round trip is the same.</param>
/// <param name="ErrorFraction">The larger of the two directions' robust relative spreads of transfer times, at most 0.99.</param>
public sealed record LinkProfile(NetworkLink ToResponder, NetworkLink FromResponder, double ErrorFraction);
