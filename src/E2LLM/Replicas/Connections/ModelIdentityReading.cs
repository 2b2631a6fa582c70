using E2LLM.Transfer;

namespace E2LLM.Replicas.Connections;

/// <summary>Reads the canonical description of a model (WIRE_FORMAT.md, "Model identity") that a peer sent.</summary>
internal static class ModelIdentityReading
{
    private const int CanonicalVersion = 1, MaxArchitectureBytes = 64;

    public static ModelIdentity Read(ref HeaderReader reader)
    {
        long at = reader.Offset;
        byte version = reader.Byte("identityVersion");
        if (version != CanonicalVersion)
        {
            throw new KvTransferException("identityVersion", at, $"Model description {version} is not supported; supported: {CanonicalVersion}.");
        }

        string architecture = reader.String("architecture", MaxArchitectureBytes);
        var shape = new ModelShape
        {
            Name = architecture,
            Architecture = architecture,
            LayerCount = reader.Int32("block_count"),
            HiddenSize = reader.Int32("embedding_length"),
            HeadCount = reader.Int32("head_count"),
            KvHeadCount = reader.Int32("head_count_kv"),
            HeadDim = reader.Int32("key_length"),
            FeedForwardSize = reader.Int32("feed_forward_length"),
            VocabularySize = reader.Int32("vocabulary_size"),
            ContextLength = reader.Int32("context_length"),
            RopeDimensionCount = reader.Int32("rope.dimension_count"),
            RopeLayout = (RopeLayout)reader.Int32("rope.layout", 0, (int)RopeLayout.Halves),
            RopeTheta = reader.Single("rope.freq_base"),
            RopePositionDivisor = reader.Single("rope.scaling.factor"),
            RmsNormEpsilon = reader.Single("layer_norm_rms_epsilon"),
        };
        at = reader.Offset;
        byte flags = reader.Byte("modelFlags");
        if (flags > 15)
        {
            throw new KvTransferException("modelFlags", at, $"modelFlags is {flags}; expected 0 to 15.");
        }

        shape = shape with { TiedHead = (flags & 1) != 0, HasQkvBias = (flags & 2) != 0, HasQkNorm = (flags & 4) != 0, HasRopeFrequencyFactors = (flags & 8) != 0 };
        return new ModelIdentity(shape, reader.Hash("tokenizer_hash"), reader.Hash("weights_hash"));
    }
}
