namespace E2LLM.Samples.EdgeCluster.Stages;

/// <summary>What a device says that it holds, once it has loaded what it asked for.</summary>
/// <param name="Part">The layers.</param>
/// <param name="SentBytes">Bytes that came over the stream for it.</param>
/// <param name="WeightBytes">Bytes of weights in its memory.</param>
/// <param name="KvBytes">Bytes that its keys and values may take beside them.</param>
internal sealed record HeldWeights(SliceRequest Part, long SentBytes, long WeightBytes, long KvBytes);
