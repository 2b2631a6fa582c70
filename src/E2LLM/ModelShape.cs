namespace E2LLM;

/// <summary>
/// The numbers that define a decoder-only transformer: everything execution needs to know besides the weights.
/// Immutable; safe to share between threads. Described by data, so a model family is a set of values here, not a class.
/// </summary>
public sealed record ModelShape
{
    /// <summary>Name from the file (<c>general.name</c>), or the architecture's name where it has none.</summary>
    public required string Name { get; init; }

    /// <summary>Architecture as GGUF names it, for example <c>llama</c>.</summary>
    public required string Architecture { get; init; }

    /// <summary>Number of transformer layers (GGUF: block_count).</summary>
    public required int LayerCount { get; init; }

    /// <summary>Width of a hidden state (embedding_length).</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Query heads (attention.head_count).</summary>
    public required int HeadCount { get; init; }

    /// <summary>Heads of keys and values, shared by groups of query heads (attention.head_count_kv).</summary>
    public required int KvHeadCount { get; init; }

    /// <summary>Width of one head (attention.key_length; keys and values alike).</summary>
    public required int HeadDim { get; init; }

    /// <summary>Inner width of the gated MLP (feed_forward_length).</summary>
    public required int FeedForwardSize { get; init; }

    /// <summary>Tokens in the vocabulary: rows of the embedding and of the head.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Longest sequence in tokens that the model was made for (context_length).</summary>
    public required int ContextLength { get; init; }

    /// <summary>Base of the rotary frequencies (rope.freq_base). Default 10,000.</summary>
    public float RopeTheta { get; init; } = 10_000f;

    /// <summary>Elements of a head that are rotated, even, at most <see cref="HeadDim"/> (rope.dimension_count).</summary>
    public required int RopeDimensionCount { get; init; }

    /// <summary>Which elements rotary embedding pairs.</summary>
    public RopeLayout RopeLayout { get; init; }

    /// <summary>Positions are divided by this before rotation (linear rope scaling). Default 1.</summary>
    public float RopePositionDivisor { get; init; } = 1f;

    /// <summary>Added to the mean square in RMS normalisation (attention.layer_norm_rms_epsilon).</summary>
    public required float RmsNormEpsilon { get; init; }

    /// <summary>Whether the head reuses the embedding matrix (the file has no output.weight).</summary>
    public bool TiedHead { get; init; }

    /// <summary>Whether query, key and value projections have a bias (qwen2).</summary>
    public bool HasQkvBias { get; init; }

    /// <summary>Whether each query and key head is RMS-normalised before rotation (qwen3).</summary>
    public bool HasQkNorm { get; init; }

    /// <summary>Whether rotary frequencies are divided, pair by pair, by the factors in the tensor <c>rope_freqs.weight</c> (llama 3.1 and later).</summary>
    public bool HasRopeFrequencyFactors { get; init; }

    /// <summary>Query heads that share one key/value head.</summary>
    public int HeadsPerKvHead => HeadCount / KvHeadCount;

    /// <summary>Width of all query heads together.</summary>
    public int QueryWidth => HeadCount * HeadDim;

    /// <summary>Width of all key (or value) heads of one position in one layer.</summary>
    public int KvWidth => KvHeadCount * HeadDim;
}
