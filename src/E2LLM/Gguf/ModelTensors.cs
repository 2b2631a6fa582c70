namespace E2LLM.Gguf;

/// <summary>Which tensors a model of a given shape has, by name and dimensions, and how a file's table differs from that.</summary>
internal static class ModelTensors
{
    public const string Embedding = "token_embd.weight";
    public const string RopeFrequencies = "rope_freqs.weight";

    /// <summary>Name and dimensions ([0] = row length) of every tensor that the shape asks for.</summary>
    public static IEnumerable<(string Name, long[] Dimensions)> Expected(ModelShape shape)
    {
        yield return (Embedding, [shape.HiddenSize, shape.VocabularySize]);
        for (int layer = 0; layer < shape.LayerCount; layer++)
        {
            string prefix = $"blk.{layer}.";
            yield return (prefix + "attn_norm.weight", [shape.HiddenSize]);
            yield return (prefix + "attn_q.weight", [shape.HiddenSize, shape.QueryWidth]);
            yield return (prefix + "attn_k.weight", [shape.HiddenSize, shape.KvWidth]);
            yield return (prefix + "attn_v.weight", [shape.HiddenSize, shape.KvWidth]);
            if (shape.HasQkvBias)
            {
                yield return (prefix + "attn_q.bias", [shape.QueryWidth]);
                yield return (prefix + "attn_k.bias", [shape.KvWidth]);
                yield return (prefix + "attn_v.bias", [shape.KvWidth]);
            }

            if (shape.HasQkNorm)
            {
                yield return (prefix + "attn_q_norm.weight", [shape.HeadDim]);
                yield return (prefix + "attn_k_norm.weight", [shape.HeadDim]);
            }

            yield return (prefix + "attn_output.weight", [shape.QueryWidth, shape.HiddenSize]);
            yield return (prefix + "ffn_norm.weight", [shape.HiddenSize]);
            yield return (prefix + "ffn_gate.weight", [shape.HiddenSize, shape.FeedForwardSize]);
            yield return (prefix + "ffn_up.weight", [shape.HiddenSize, shape.FeedForwardSize]);
            yield return (prefix + "ffn_down.weight", [shape.FeedForwardSize, shape.HiddenSize]);
        }

        yield return ("output_norm.weight", [shape.HiddenSize]);
        if (!shape.TiedHead)
        {
            yield return ("output.weight", [shape.HiddenSize, shape.VocabularySize]);
        }

        if (shape.HasRopeFrequencyFactors)
        {
            yield return (RopeFrequencies, [shape.RopeDimensionCount / 2]);
        }
    }

    /// <summary>
    /// What is wrong with a file's tensors, as exceptions to throw or to list: types that cannot be computed with (once per
    /// type), tensors that are missing or have other dimensions (the first missing ends the search), tensors nobody knows.
    /// </summary>
    public static IEnumerable<Exception> FindProblems(GgufFile file, ModelShape shape)
    {
        foreach (IGrouping<string, GgufTensor> group in file.Tensors
            .Where(tensor => !TensorTypeGeometry.IsKnown(tensor.Type)).GroupBy(tensor => tensor.TypeName))
        {
            yield return new NotSupportedException(
                $"Tensor type {group.Key} ({group.Count()} tensors, first '{group.First().Name}') is not supported. "
                + $"Supported: {string.Join(", ", Enum.GetNames<TensorType>())}.");
        }

        GgufSlice? slice = GgufSlice.Read(file.Metadata);
        var known = new HashSet<string>(StringComparer.Ordinal);
        foreach ((string name, long[] dimensions) in Expected(shape))
        {
            if (slice?.Holds(name) == false)
            {
                continue;
            }

            known.Add(name);
            if (!file.TryGetTensor(name, out GgufTensor? tensor))
            {
                yield return new GgufFormatException(0, name, $"the file has no such tensor; '{shape.Architecture}' needs it with dimensions [{string.Join(", ", dimensions)}].");
                yield break;
            }

            if (!SameShape(tensor.Dimensions, dimensions))
            {
                yield return new GgufFormatException(
                    tensor.Offset, name, $"expected dimensions [{string.Join(", ", dimensions)}], found {tensor.ShapeText}.");
            }
        }

        foreach (GgufTensor tensor in file.Tensors)
        {
            if (!known.Contains(tensor.Name))
            {
                yield return new NotSupportedException(
                    $"Tensor '{tensor.Name}' {tensor.ShapeText} is not supported for architecture '{shape.Architecture}': without it the results would be wrong.");
            }
        }
    }

    /// <summary>Dimensions of 1 after the last one given make no difference.</summary>
    private static bool SameShape(IReadOnlyList<long> found, long[] expected)
    {
        for (int i = 0; i < Math.Max(found.Count, expected.Length); i++)
        {
            if ((i < found.Count ? found[i] : 1) != (i < expected.Length ? expected[i] : 1))
            {
                return false;
            }
        }

        return true;
    }
}
