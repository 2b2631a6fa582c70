using E2LLM.Deployment;

namespace E2LLM.Planning.Clustering;

/// <summary>One replica as a search found it: how many devices of each class, its role, and how they serve it. Immutable.</summary>
internal sealed record GroupPick(int State, int[] Counts, ReplicaRole Role, RoleChoice Choice, MixedChoice Mixed, double PrefillShare);

/// <summary>What a search found. Immutable.</summary>
/// <param name="Groups">The replicas; empty: no plan.</param>
/// <param name="Value">Capacity in requests per second.</param>
/// <param name="Bound">No plan of this problem has more (positive infinity: unknown).</param>
/// <param name="Tried">What was tried, in words.</param>
internal sealed record SearchOutcome(IReadOnlyList<GroupPick> Groups, double Value, double Bound, string Tried);
