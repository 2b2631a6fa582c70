namespace E2LLM.Gguf;

/// <summary>
/// What a slice of a model says of itself in metadata: which part it holds, and what of the whole model can no longer be read from its tensors. Immutable; thread-safe.
/// </summary>
internal sealed record GgufSlice
{
    public const string Prefix = "e2llm.slice.";

    public required LayerRange Layers { get; init; }

    public required bool HasEmbedding { get; init; }

    public required bool HasHead { get; init; }

    public required bool TiedHead { get; init; }

    public required bool HasQkvBias { get; init; }

    public required bool HasRopeFactors { get; init; }

    public required int VocabularySize { get; init; }

    /// <summary>Fingerprint of the whole model's weights, see <see cref="ModelIdentityReader"/>.</summary>
    public required byte[] WeightsHash { get; init; }

    /// <summary>SHA-256 of the slice's own tensors, one after another, without padding.</summary>
    public required byte[] DataHash { get; init; }

    /// <summary>What the metadata says; null where the file is no slice.</summary>
    /// <exception cref="GgufFormatException">It is one, but a key is missing or makes no sense.</exception>
    public static GgufSlice? Read(GgufMetadata metadata)
    {
        if (!metadata.Contains(Prefix + "first_layer"))
        {
            return null;
        }

        int first = metadata.GetInt32(Prefix + "first_layer"), end = metadata.GetInt32(Prefix + "end_layer"), vocabulary = metadata.GetInt32(Prefix + "vocabulary_size");
        if (first < 0 || end < first || vocabulary < 1)
        {
            throw metadata.Fault(Prefix + "first_layer", $"layers [{first}, {end}) and a vocabulary of {vocabulary} make no sense.");
        }

        return new GgufSlice
        {
            Layers = new LayerRange(first, end),
            HasEmbedding = metadata.GetBoolean(Prefix + "embedding"),
            HasHead = metadata.GetBoolean(Prefix + "head"),
            TiedHead = metadata.GetBoolean(Prefix + "tied_head"),
            HasQkvBias = metadata.GetBoolean(Prefix + "qkv_bias"),
            HasRopeFactors = metadata.GetBoolean(Prefix + "rope_factors"),
            VocabularySize = vocabulary,
            WeightsHash = Hash(metadata, "weights_hash"),
            DataHash = Hash(metadata, "data_hash"),
        };
    }

    /// <summary>Whether a tensor of the whole model is one of the slice's.</summary>
    public bool Holds(string tensor)
    {
        if (tensor.StartsWith("blk.", StringComparison.Ordinal))
        {
            int dot = tensor.IndexOf('.', 4);
            return dot > 0 && int.TryParse(tensor.AsSpan(4, dot - 4), System.Globalization.NumberStyles.None, null, out int layer) && Layers.Contains(layer);
        }

        return tensor switch
        {
            ModelTensors.Embedding => HasEmbedding || (HasHead && TiedHead),
            ModelTensors.RopeFrequencies => Layers.Count > 0,
            _ => HasHead,
        };
    }

    private static byte[] Hash(GgufMetadata metadata, string key)
    {
        string text = metadata.GetString(Prefix + key);
        byte[] hash = new byte[ModelIdentity.HashBytes];
        return Convert.FromHexString(text, hash, out int consumed, out int written) == System.Buffers.OperationStatus.Done && consumed == text.Length && written == hash.Length
            ? hash
            : throw metadata.Fault(Prefix + key, $"expected {2 * ModelIdentity.HashBytes} hexadecimal digits, found '{(text.Length > 80 ? text[..80] : text)}'.");
    }
}
