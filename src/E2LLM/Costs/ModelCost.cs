namespace E2LLM.Costs;

/// <summary>
/// What a model costs: bytes and operations of each layer, of the embedding and of the head. Immutable; safe to share.
/// Made from a shape file (<see cref="Parse"/>) or from a <see cref="ModelShape"/> and the sizes of the stored tensors (<see cref="FromShape"/>).
/// </summary>
public sealed record ModelCost
{
    /// <summary>Bytes of one element of a hidden state between stages: they travel as binary32.</summary>
    public const int HiddenElementBytes = 4;

    /// <summary>Name of the model.</summary>
    public required string Name { get; init; }

    /// <summary>Width of a hidden state.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Inner width of the gated MLP (of one expert).</summary>
    public required int FeedForwardSize { get; init; }

    /// <summary>Width of all query heads together.</summary>
    public required int QueryWidth { get; init; }

    /// <summary>Tokens in the vocabulary.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Longest sequence in tokens.</summary>
    public required int ContextLength { get; init; }

    /// <summary>The layers, in order; at least one.</summary>
    public required IReadOnlyList<LayerCost> Layers { get; init; }

    /// <summary>Experts of a layer; zero for a dense model.</summary>
    public int ExpertCount { get; init; }

    /// <summary>Experts that one token uses.</summary>
    public int ExpertUsedCount { get; init; }

    /// <summary>Bytes of the token embedding matrix.</summary>
    public required long EmbeddingBytes { get; init; }

    /// <summary>Bytes of final norm and head; where the head is tied, the embedding matrix again.</summary>
    public required long HeadBytes { get; init; }

    /// <summary>Whether the head reuses the embedding matrix: a stage with both holds it once.</summary>
    public bool TiedHead { get; init; }

    /// <summary>Number of layers.</summary>
    public int LayerCount => Layers.Count;

    /// <summary>Bytes of one hidden state.</summary>
    public long HiddenStateBytes => (long)HiddenElementBytes * HiddenSize;

    /// <summary>Operations of the head for one row: <c>2 * HiddenSize * VocabularySize</c>.</summary>
    public double HeadFlopsPerRow => 2.0 * HiddenSize * VocabularySize;

    /// <summary>Whether every layer costs the same (then only the number of layers of a stage matters, not which).</summary>
    public bool HasUniformLayers
    {
        get
        {
            for (int i = 1; i < Layers.Count; i++)
            {
                if (Layers[i] != Layers[0])
                {
                    return false;
                }
            }

            return true;
        }
    }

    /// <summary>Bytes of keys and values of one position over all layers (windows aside): what a KV transfer carries.</summary>
    public long KvBytesPerToken => KvBytesPerTokenOf(new LayerRange(0, Layers.Count));

    /// <summary>Bytes of keys and values of one position over <paramref name="layers"/>.</summary>
    public long KvBytesPerTokenOf(LayerRange layers)
    {
        long sum = 0;
        for (int i = layers.Start; i < layers.End; i++)
        {
            sum += Layers[i].KvBytesPerToken;
        }

        return sum;
    }

    /// <summary>Bytes of keys and values that a sequence of <paramref name="contextTokens"/> leaves in <paramref name="layers"/>; a sliding window caps its layer.</summary>
    public double KvBytes(LayerRange layers, double contextTokens)
    {
        double sum = 0;
        for (int i = layers.Start; i < layers.End; i++)
        {
            sum += Layers[i].KvBytesPerToken * Layers[i].VisibleTokens(contextTokens);
        }

        return sum;
    }

    /// <summary>Bytes of weights of <paramref name="layers"/>, with embedding and head where asked for.</summary>
    public long WeightBytes(LayerRange layers, bool embedding, bool head)
    {
        long sum = (embedding ? EmbeddingBytes : 0) + (head ? HeadBytes : 0);
        if (embedding && head && TiedHead)
        {
            sum -= Math.Min(EmbeddingBytes, HeadBytes);
        }

        for (int i = layers.Start; i < layers.End; i++)
        {
            sum = checked(sum + Layers[i].WeightBytes);
        }

        return sum;
    }

    /// <summary>
    /// Expected number of distinct experts that <paramref name="tokens"/> tokens meet: <c>n (1 - (1 - k/n)^tokens)</c>, tokens choosing independently.
    /// Zero for a dense model. Source: PLANNING.md 4.1 of this project's notes; at 32 experts, top 4: 4 for one token, 28.2 for 16.
    /// </summary>
    public double ExpectedExperts(double tokens) => ExpertCount == 0
        ? 0
        : ExpertCount * (1 - Math.Pow(1 - ((double)ExpertUsedCount / ExpertCount), tokens));

    /// <summary>Bytes of activations that a pass over <paramref name="tokens"/> tokens needs on a stage, logits rows included where it has the head.</summary>
    public long ActivationBytes(int tokens, int logitsRows, bool head) => checked(
        ((long)tokens * HiddenElementBytes * ((4L * HiddenSize) + (2L * QueryWidth) + (2L * FeedForwardSize)))
        + (head ? (long)logitsRows * HiddenElementBytes * VocabularySize : 0));

    /// <summary>Reads the JSON format of model shapes.</summary>
    /// <exception cref="DescriptionFormatException">The text is not such a description; the message has the path.</exception>
    public static ModelCost Parse(string json) => ModelCostJson.Read(json);

    /// <summary>Reads a file in the JSON format of model shapes. (What a GGUF file costs tells Profiling's ModelCostReader.)</summary>
    /// <exception cref="DescriptionFormatException">The file holds no such description; the message has the path in it.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static ModelCost Load(string path) => Parse(File.ReadAllText(path));

    /// <summary>Makes the cost of a model from its shape and the bytes of its stored tensors.</summary>
    /// <param name="shape">The model's shape (dense).</param>
    /// <param name="layerWeightBytes">Bytes of all tensors of each layer, <see cref="ModelShape.LayerCount"/> entries.</param>
    /// <param name="embeddingBytes">Bytes of the token embedding tensor.</param>
    /// <param name="headBytes">Bytes of the final norm and, untied, of the output tensor; for a tied head the embedding tensor's bytes are added here.</param>
    /// <param name="kvElementType">Element type of the KV cache.</param>
    /// <exception cref="ArgumentException">The number of layers differs from the shape's.</exception>
    public static ModelCost FromShape(
        ModelShape shape, IReadOnlyList<long> layerWeightBytes, long embeddingBytes, long headBytes, KvElementType kvElementType = KvElementType.F16)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(layerWeightBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(embeddingBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(headBytes);
        if (layerWeightBytes.Count != shape.LayerCount)
        {
            throw new ArgumentException($"{layerWeightBytes.Count} layer sizes for {shape.LayerCount} layers.", nameof(layerWeightBytes));
        }

        double matrixWeights = ((double)shape.HiddenSize * ((2.0 * shape.QueryWidth) + (2.0 * shape.KvWidth)))
            + (3.0 * shape.HiddenSize * shape.FeedForwardSize);
        long kvBytes = KvBytesOfPosition(shape.KvWidth, kvElementType);
        var layers = new LayerCost[shape.LayerCount];
        for (int i = 0; i < layers.Length; i++)
        {
            layers[i] = new LayerCost
            {
                WeightBytes = layerWeightBytes[i],
                FlopsPerToken = 2 * matrixWeights,
                AttentionFlopsPerPair = 4.0 * shape.QueryWidth,
                KvBytesPerToken = kvBytes,
            };
        }

        return new ModelCost
        {
            Name = shape.Name,
            HiddenSize = shape.HiddenSize,
            FeedForwardSize = shape.FeedForwardSize,
            QueryWidth = shape.QueryWidth,
            VocabularySize = shape.VocabularySize,
            ContextLength = shape.ContextLength,
            Layers = layers,
            EmbeddingBytes = embeddingBytes,
            HeadBytes = shape.TiedHead ? checked(headBytes + embeddingBytes) : headBytes,
            TiedHead = shape.TiedHead,
        };
    }

    /// <summary>Bytes of the keys and values of one position of one layer whose key (or value) row has <paramref name="kvWidth"/> elements.</summary>
    internal static long KvBytesOfPosition(long kvWidth, KvElementType type) => type switch
    {
        KvElementType.F32 => checked(2 * kvWidth * 4),
        KvElementType.Q8_0 => checked(2 * ((kvWidth + 31) / 32) * 34),
        _ => checked(2 * kvWidth * 2),
    };
}
