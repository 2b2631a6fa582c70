using E2LLM.KvCaching;

namespace E2LLM.Execution;

/// <summary>The next <paramref name="TokenCount"/> positions of one sequence: one while decoding, more while prefilling.</summary>
/// <param name="Sequence">The sequence; its <see cref="KvCache.Length"/> is the position of the first token.</param>
/// <param name="TokenCount">Tokens, at least 1.</param>
public readonly record struct SequenceSlice(KvCache Sequence, int TokenCount);
