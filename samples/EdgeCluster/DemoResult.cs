using E2LLM.Replicas;

namespace E2LLM.Samples.EdgeCluster;

/// <summary>What the cluster made of a request.</summary>
internal sealed record DemoResult(DemoRequest Request, IReadOnlyList<int> Ids, RequestReport Report);
