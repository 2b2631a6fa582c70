namespace E2LLM.Costs;

/// <summary>JSON of model shapes, read by hand. Stateless.</summary>
internal static class ModelCostJson
{
    // Caps keep every product below in 63 bits: 2^20 layers or experts, 2^24 wide, is far beyond any model.
    private const int WidthCap = 1 << 24;
    private const int CountCap = 1 << 20;

    public static ModelCost Read(string json) => JsonObjectView.Parse(json, root =>
    {
        int layerCount = Positive(root, "layerCount", 4096), hidden = Positive(root, "hiddenSize", WidthCap);
        int heads = Positive(root, "headCount", CountCap), kvHeads = Positive(root, "kvHeadCount", CountCap);
        int headDim = root.Has("headDim") ? Positive(root, "headDim", CountCap) : Math.Max(1, hidden / heads);
        int feedForward = Positive(root, "feedForwardSize", WidthCap), vocabulary = Positive(root, "vocabularySize", WidthCap);
        int context = Positive(root, "contextLength", int.MaxValue);
        string name = root.String("name", "model"), tensorType = root.String("tensorType", "F16");
        double bits = root.Has("weightBitsPerWeight") ? root.Number("weightBitsPerWeight") : BitsOf(tensorType, root.PathOf("tensorType"));
        if (!(bits > 0 && bits <= 64))
        {
            throw new DescriptionFormatException(root.PathOf("weightBitsPerWeight"), $"must be above 0 and at most 64, is {bits}.");
        }

        KvElementType kvType = root.Choice<KvElementType>("kvElementType", root.String("kvElementType", nameof(KvElementType.F16)));
        bool tied = root.Flag("tiedHead", false);
        int experts = Limited(root, "expertCount", 0, CountCap), used = Limited(root, "expertUsedCount", 0, CountCap);
        int window = Limited(root, "slidingWindow", 0, int.MaxValue), every = Limited(root, "slidingWindowEvery", 1, CountCap);
        root.End();
        if (used > experts || (experts > 0 && used == 0))
        {
            throw new DescriptionFormatException(root.PathOf("expertUsedCount"), $"{used} of {experts} experts cannot be used.");
        }

        double queryWidth = (double)heads * headDim, kvWidth = (double)kvHeads * headDim;
        if (queryWidth > WidthCap || kvWidth > queryWidth)
        {
            throw new DescriptionFormatException(
                root.PathOf("headCount"), $"{heads} query and {kvHeads} key/value heads of width {headDim} are no transformer this library knows.");
        }

        double attention = hidden * ((2 * queryWidth) + (2 * kvWidth)), oneMlp = 3.0 * hidden * feedForward;
        double router = experts > 0 ? (double)hidden * experts : 0, norms = 2.0 * hidden;
        double stored = attention + router + (oneMlp * Math.Max(1, experts)), met = attention + router + (oneMlp * Math.Max(1, used));
        long expertBytes = experts > 0 ? Bytes(oneMlp * bits / 8) : 0;
        long layerBytes = Bytes(((attention + router + (experts > 0 ? 0 : oneMlp)) * bits / 8) + (norms * 4)) + (expertBytes * experts);
        long embeddingBytes = Bytes((double)hidden * vocabulary * bits / 8);
        _ = Bytes(stored * layerCount * bits / 8);

        var layers = new LayerCost[layerCount];
        for (int i = 0; i < layerCount; i++)
        {
            layers[i] = new LayerCost
            {
                WeightBytes = layerBytes,
                ExpertBytes = expertBytes,
                FlopsPerToken = 2 * met,
                AttentionFlopsPerPair = 4 * queryWidth,
                KvBytesPerToken = ModelCost.KvBytesOfPosition((long)kvWidth, kvType),
                Window = window > 0 && i % Math.Max(1, every) == 0 ? window : 0,
            };
        }

        return new ModelCost
        {
            Name = name,
            HiddenSize = hidden,
            FeedForwardSize = feedForward,
            QueryWidth = (int)queryWidth,
            VocabularySize = vocabulary,
            ContextLength = context,
            Layers = layers,
            ExpertCount = experts,
            ExpertUsedCount = used,
            EmbeddingBytes = embeddingBytes,
            HeadBytes = embeddingBytes + (4L * hidden),
            TiedHead = tied,
        };
    });

    private static int Positive(JsonObjectView view, string name, int cap)
    {
        int value = view.Count(name);
        return value >= 1 && value <= cap
            ? value
            : throw new DescriptionFormatException(view.PathOf(name), $"must be from 1 to {cap}, is {value}.");
    }

    private static int Limited(JsonObjectView view, string name, int fallback, int cap)
    {
        int value = view.Count(name, fallback);
        return value >= 0 && value <= cap
            ? value
            : throw new DescriptionFormatException(view.PathOf(name), $"must be from 0 to {cap}, is {value}.");
    }

    private static long Bytes(double value) => value < 1L << 60
        ? (long)Math.Ceiling(value)
        : throw new DescriptionFormatException("$", "the model has more bytes than can be counted.");

    // Bits per weight with scales: exact for the plain types (their block geometry), llama.cpp's published averages for the mixtures.
    private static double BitsOf(string type, string path)
    {
        if (Enum.TryParse(type, ignoreCase: true, out TensorType plain) && TensorTypeGeometry.IsKnown(plain))
        {
            return 8.0 * TensorTypeGeometry.BlockBytes(plain) / TensorTypeGeometry.BlockElementCount(plain);
        }

        return type.ToUpperInvariant() switch
        {
            "Q4_K_S" => 4.58,
            "Q4_K_M" => 4.83,
            "Q5_K_S" => 5.52,
            "Q5_K_M" => 5.68,
            "MXFP4" => 4.25,
            _ => throw new DescriptionFormatException(path, $"the bits per weight of '{type}' are not known; give weightBitsPerWeight."),
        };
    }
}
