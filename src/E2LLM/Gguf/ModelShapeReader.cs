namespace E2LLM.Gguf;

/// <summary>Reads the numbers that define a model from a GGUF file's metadata, and holds its tensor table against them. Stateless; thread-safe.</summary>
public static class ModelShapeReader
{
    /// <summary>
    /// The shape of the model in <paramref name="file"/>. No tensor data is touched. Unless the file has no tensors at all (a
    /// vocabulary), every tensor that the shape asks for must be there with the right dimensions and a supported type, and no other.
    /// </summary>
    /// <exception cref="GgufFormatException">A key or tensor is missing, or a value makes no sense.</exception>
    /// <exception cref="NotSupportedException">Architecture, tensor type, tensor or option is not supported; names what was found and what is supported.</exception>
    public static ModelShape Read(GgufFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        ModelShape shape = ReadMetadata(file);
        if (file.Tensors.Count > 0)
        {
            foreach (Exception problem in ModelTensors.FindProblems(file, shape))
            {
                throw problem;
            }
        }

        return shape;
    }

    /// <summary>The shape alone, without a look at tensors beyond those that tell the vocabulary, a tied head, biases and frequency factors.</summary>
    internal static ModelShape ReadMetadata(GgufFile file)
    {
        GgufMetadata metadata = file.Metadata;
        ModelArchitecture architecture = ModelArchitecture.Find(metadata.GetString("general.architecture"));
        var keys = new ArchitectureKeys(metadata, architecture.Name);
        keys.RejectUnsupportedOptions();

        // A slice lacks tensors; it says in metadata what the whole model's tensors say.
        GgufSlice? slice = GgufSlice.Read(metadata);
        int layerCount = keys.Positive("block_count");
        int hiddenSize = keys.Positive("embedding_length");
        int headCount = keys.PositivePerLayer("attention.head_count", layerCount, null);
        int kvHeadCount = keys.PositivePerLayer("attention.head_count_kv", layerCount, headCount);
        if (kvHeadCount > headCount || headCount % kvHeadCount != 0)
        {
            throw keys.Fault("attention.head_count_kv", $"{headCount} query heads cannot share {kvHeadCount} key/value heads evenly.");
        }

        if (slice?.Layers.End > layerCount)
        {
            throw metadata.Fault(GgufSlice.Prefix + "end_layer", $"layers {slice.Layers} are not in a model of {layerCount}.");
        }

        int headDim = ReadHeadDim(keys, hiddenSize, headCount);
        float epsilon = keys.PositiveNumber("attention.layer_norm_rms_epsilon", null);
        return new ModelShape
        {
            Name = metadata.TryGetString("general.name", out string? name) && name.Length > 0 ? name : architecture.Name,
            Architecture = architecture.Name,
            LayerCount = layerCount,
            HiddenSize = hiddenSize,
            HeadCount = headCount,
            KvHeadCount = kvHeadCount,
            HeadDim = headDim,
            FeedForwardSize = keys.PositivePerLayer("feed_forward_length", layerCount, null),
            VocabularySize = slice?.VocabularySize ?? ReadVocabularySize(file, keys),
            ContextLength = keys.Positive("context_length"),
            RopeTheta = keys.PositiveNumber("rope.freq_base", 10_000f),
            RopeDimensionCount = headDim,
            RopeLayout = architecture.RopeLayout,
            RopePositionDivisor = keys.PositiveNumber("rope.scaling.factor", keys.PositiveNumber("rope.scale_linear", 1f)),
            RmsNormEpsilon = epsilon,
            TiedHead = slice?.TiedHead ?? !file.TryGetTensor("output.weight", out _),
            HasQkvBias = slice?.HasQkvBias ?? file.TryGetTensor("blk.0.attn_q.bias", out _),
            HasQkNorm = architecture.HasQkNorm,
            HasRopeFrequencyFactors = slice?.HasRopeFactors ?? (architecture.TakesRopeFrequencyFactors && file.TryGetTensor(ModelTensors.RopeFrequencies, out _)),
        };
    }

    private static int ReadHeadDim(ArchitectureKeys keys, int hiddenSize, int headCount)
    {
        if (!keys.Has("attention.key_length") && hiddenSize % headCount != 0)
        {
            throw keys.Fault("attention.head_count", $"a hidden state of {hiddenSize} does not divide into {headCount} heads.");
        }

        int headDim = keys.Positive("attention.key_length", hiddenSize / headCount);
        int valueDim = keys.Positive("attention.value_length", hiddenSize / headCount);
        if (valueDim != headDim)
        {
            throw new NotSupportedException($"Heads with keys of {headDim} and values of {valueDim} are not supported: they must be alike.");
        }

        int rotated = keys.Positive("rope.dimension_count", headDim);
        if (rotated != headDim)
        {
            throw new NotSupportedException(
                $"Rotary embedding of {rotated} of {headDim} elements is not supported for '{keys.Architecture}': all must be rotated.");
        }

        if (headDim % 2 != 0)
        {
            throw keys.Fault("attention.key_length", $"a head of {headDim} elements has no pairs to rotate.");
        }

        if ((long)headDim * headCount > int.MaxValue)
        {
            throw keys.Fault("attention.head_count", $"{headCount} heads of {headDim} elements are more than 2^31 - 1.");
        }

        return headDim;
    }

    /// <summary>Rows of the embedding; in a file without tensors the number of tokens, or what vocab_size says.</summary>
    private static int ReadVocabularySize(GgufFile file, ArchitectureKeys keys)
    {
        const string TokensKey = "tokenizer.ggml.tokens";
        int tokens = file.Metadata.Contains(TokensKey) ? file.Metadata.GetArrayLength(TokensKey) : 0;
        if (!file.TryGetTensor(ModelTensors.Embedding, out GgufTensor? embedding))
        {
            return tokens > 0 ? tokens : keys.Positive("vocab_size");
        }

        long rows = embedding.RowCount;
        if (rows > int.MaxValue || (tokens > 0 && rows != tokens))
        {
            throw new GgufFormatException(
                file.Metadata.OffsetOf(TokensKey), TokensKey, $"the vocabulary has {tokens} tokens, the embedding {rows} rows.");
        }

        return (int)rows;
    }
}
