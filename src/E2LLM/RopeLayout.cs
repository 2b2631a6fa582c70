namespace E2LLM;

/// <summary>Which elements of a head rotary position embedding pairs up.</summary>
public enum RopeLayout
{
    /// <summary>Neighbours <c>(2i, 2i+1)</c>: the llama family as GGUF stores it.</summary>
    Interleaved,

    /// <summary>Halves <c>(i, i + d/2)</c>: the qwen family.</summary>
    Halves,
}
