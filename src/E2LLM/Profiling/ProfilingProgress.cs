namespace E2LLM.Profiling;

/// <summary>How far a measurement is. Immutable.</summary>
/// <param name="Phase">What was just measured: "warm-up", "prefill", "decode", "head" or "embedding".</param>
/// <param name="DonePointCount">Points measured.</param>
/// <param name="PointCount">Points in all.</param>
public readonly record struct ProfilingProgress(string Phase, int DonePointCount, int PointCount);
