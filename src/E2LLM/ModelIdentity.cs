using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace E2LLM;

/// <summary>
/// What two machines must agree on before one may continue the other's work: the numbers of the transformer, its tokenizer and its weights.
/// Defined by content, so that two machines with the same file agree without asking anyone. Immutable; thread-safe.
/// </summary>
public sealed class ModelIdentity
{
    /// <summary>Bytes of each hash (SHA-256).</summary>
    public const int HashBytes = 32;

    private readonly byte[] _canonical;
    private readonly byte[] _hash;

    /// <summary>Describes a model.</summary>
    /// <param name="shape">Its numbers. The name takes no part: a renamed file is the same model.</param>
    /// <param name="tokenizerHash">SHA-256 of the tokenizer's definition, <see cref="HashBytes"/> bytes.</param>
    /// <param name="weightsHash">SHA-256 fingerprint of the weights, <see cref="HashBytes"/> bytes.</param>
    /// <exception cref="ArgumentException">A hash has another length.</exception>
    public ModelIdentity(ModelShape shape, ReadOnlyMemory<byte> tokenizerHash, ReadOnlyMemory<byte> weightsHash)
    {
        ArgumentNullException.ThrowIfNull(shape);
        CheckHash(tokenizerHash, nameof(tokenizerHash));
        CheckHash(weightsHash, nameof(weightsHash));
        Shape = shape;
        TokenizerHash = tokenizerHash.ToArray();
        WeightsHash = weightsHash.ToArray();
        _canonical = ToCanonicalBytes();
        _hash = SHA256.HashData(_canonical);
    }

    /// <summary>The numbers of the transformer.</summary>
    public ModelShape Shape { get; }

    /// <summary>SHA-256 of the tokenizer's definition.</summary>
    public ReadOnlyMemory<byte> TokenizerHash { get; }

    /// <summary>SHA-256 fingerprint of the weights.</summary>
    public ReadOnlyMemory<byte> WeightsHash { get; }

    /// <summary>SHA-256 of the canonical description (Transfer/WIRE_FORMAT.md, "Model identity"), 32 bytes.</summary>
    public ReadOnlyMemory<byte> Hash => _hash;

    /// <summary>The canonical description itself.</summary>
    internal ReadOnlySpan<byte> CanonicalBytes => _canonical;

    /// <summary>The fields in which two identities differ; empty where they agree.</summary>
    /// <param name="theirs">The other side's identity.</param>
    public IReadOnlyList<IdentityDifference> DifferencesFrom(ModelIdentity theirs)
    {
        ArgumentNullException.ThrowIfNull(theirs);
        List<IdentityDifference> differences = [];
        foreach (((string field, string mine), (_, string other)) in Fields().Zip(theirs.Fields()))
        {
            if (!string.Equals(mine, other, StringComparison.Ordinal))
            {
                differences.Add(new IdentityDifference(field, mine, other));
            }
        }

        return differences;
    }

    /// <summary>Every field by the name that GGUF gives it, as text for messages.</summary>
    private IEnumerable<(string Field, string Value)> Fields()
    {
        ModelShape s = Shape;
        yield return ("architecture", s.Architecture);
        yield return ("block_count", Text(s.LayerCount));
        yield return ("embedding_length", Text(s.HiddenSize));
        yield return ("head_count", Text(s.HeadCount));
        yield return ("head_count_kv", Text(s.KvHeadCount));
        yield return ("key_length", Text(s.HeadDim));
        yield return ("feed_forward_length", Text(s.FeedForwardSize));
        yield return ("vocabulary_size", Text(s.VocabularySize));
        yield return ("context_length", Text(s.ContextLength));
        yield return ("rope.dimension_count", Text(s.RopeDimensionCount));
        yield return ("rope.layout", s.RopeLayout.ToString());
        yield return ("rope.freq_base", s.RopeTheta.ToString("R", CultureInfo.InvariantCulture));
        yield return ("rope.scaling.factor", s.RopePositionDivisor.ToString("R", CultureInfo.InvariantCulture));
        yield return ("layer_norm_rms_epsilon", s.RmsNormEpsilon.ToString("R", CultureInfo.InvariantCulture));
        yield return ("tied_head", s.TiedHead ? "true" : "false");
        yield return ("qkv_bias", s.HasQkvBias ? "true" : "false");
        yield return ("qk_norm", s.HasQkNorm ? "true" : "false");
        yield return ("rope_frequency_factors", s.HasRopeFrequencyFactors ? "true" : "false");
        yield return ("tokenizer_hash", Convert.ToHexStringLower(TokenizerHash.Span));
        yield return ("weights_hash", Convert.ToHexStringLower(WeightsHash.Span));
    }

    /// <summary>Fixed order, little-endian, one leading byte for the version of the description itself.</summary>
    private byte[] ToCanonicalBytes()
    {
        ModelShape s = Shape;
        byte[] architecture = Encoding.UTF8.GetBytes(s.Architecture);
        ReadOnlySpan<int> numbers =
        [
            s.LayerCount, s.HiddenSize, s.HeadCount, s.KvHeadCount, s.HeadDim, s.FeedForwardSize, s.VocabularySize, s.ContextLength,
            s.RopeDimensionCount, (int)s.RopeLayout,
            BitConverter.SingleToInt32Bits(s.RopeTheta), BitConverter.SingleToInt32Bits(s.RopePositionDivisor),
            BitConverter.SingleToInt32Bits(s.RmsNormEpsilon),
        ];
        byte[] bytes = new byte[1 + sizeof(ushort) + architecture.Length + (numbers.Length * sizeof(int)) + 1 + (2 * HashBytes)];
        Span<byte> rest = bytes;
        rest[0] = 1;
        BinaryPrimitives.WriteUInt16LittleEndian(rest[1..], checked((ushort)architecture.Length));
        architecture.CopyTo(rest[3..]);
        rest = rest[(3 + architecture.Length)..];
        foreach (int number in numbers)
        {
            BinaryPrimitives.WriteInt32LittleEndian(rest, number);
            rest = rest[sizeof(int)..];
        }

        rest[0] = (byte)((s.TiedHead ? 1 : 0) | (s.HasQkvBias ? 2 : 0) | (s.HasQkNorm ? 4 : 0) | (s.HasRopeFrequencyFactors ? 8 : 0));
        TokenizerHash.Span.CopyTo(rest[1..]);
        WeightsHash.Span.CopyTo(rest[(1 + HashBytes)..]);
        return bytes;
    }

    private static void CheckHash(ReadOnlyMemory<byte> hash, string name)
    {
        if (hash.Length != HashBytes)
        {
            throw new ArgumentException($"A SHA-256 hash has {HashBytes} bytes, got {hash.Length}.", name);
        }
    }

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}

/// <summary>One field in which two sides of a connection differ.</summary>
/// <param name="Field">Name of the field.</param>
/// <param name="Ours">This side's value.</param>
/// <param name="Theirs">The other side's value.</param>
public readonly record struct IdentityDifference(string Field, string Ours, string Theirs)
{
    /// <summary>Written as <c>field: ours X, theirs Y</c>.</summary>
    public override string ToString() => $"{Field}: ours {Ours}, theirs {Theirs}";
}
