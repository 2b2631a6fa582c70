namespace E2LLM.Weights;

/// <summary>Weights taken apart and put together, so that a device that gets other layers need not load again what it has.</summary>
public sealed partial class ModelWeights
{
    private ModelWeights(ModelShape shape, LayerRange layers, LayerWeights[] weights, WeightMatrix? embedding, AlignedBuffer? finalNorm, WeightMatrix? head, AlignedBuffer? ropeFactors)
    {
        Shape = shape;
        Layers = layers;
        _layers = weights;
        (Embedding, FinalNorm, Head, RopeFactors) = (embedding, finalNorm, head, ropeFactors);
        long layerBytes = (ropeFactors?.Bytes ?? 0) + weights.Sum(layer => layer.Parts.Sum(SizeOf)), headBytes = (finalNorm?.Bytes ?? 0) + (head is null || head == embedding ? 0 : head.Bytes);
        Memory = new WeightsMemory(embedding?.Bytes ?? 0, layerBytes, headBytes);
        AllocatedBytes = Memory.TotalBytes;
        IDisposable?[] parts = [embedding, .. weights.SelectMany(layer => layer.Parts), ropeFactors, finalNorm, head];
        _owned.AddRange(parts.OfType<IDisposable>().Distinct());
    }

    /// <summary>
    /// Keeps some layers and frees the others: what is returned takes over their memory, and these weights are disposed. Weights that came from a file lie in one piece of memory, of which no part can be freed:
    /// the kept ones are copied first, so that both are there for a moment.
    /// </summary>
    /// <param name="layers">Layers to keep; those that are held of them are.</param>
    /// <param name="embedding">Whether to keep the embedding matrix, where it is held.</param>
    /// <param name="head">Whether to keep the final norm and the head, where they are held.</param>
    /// <returns>What is left; possibly nothing.</returns>
    /// <exception cref="ObjectDisposedException">They were disposed.</exception>
    public ModelWeights Keep(LayerRange layers, bool embedding, bool head)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        LayerRange kept = Layers.Intersect(layers);
        LayerWeights[] weights = kept.Count == 0 ? [] : _layers[(kept.Start - Layers.Start)..(kept.End - Layers.Start)];
        AlignedBuffer? norm = head ? FinalNorm : null, rope = kept.Count > 0 ? RopeFactors : null;
        WeightMatrix? first = embedding ? Embedding : null, last = head ? Head : null;
        if (_owned.Any(owned => owned is WeightArena))
        {
            WeightMatrix? copied = first?.Copy();
            (last, first) = (last is not null && last == first ? copied : last?.Copy(), copied);
            (norm, rope, weights) = (norm?.Copy(), rope?.Copy(), [.. weights.Select(layer => layer.Copy())]);
        }

        var left = new ModelWeights(Shape, kept, weights, first, norm, last, rope);
        _owned.RemoveAll(left._owned.Contains);
        Dispose();
        return left;
    }

    /// <summary>Puts parts of one model together: the whole takes over their memory, and they are disposed. Where head and embedding are tied and came apart, one of the two is freed.</summary>
    /// <param name="parts">Parts whose layers follow one another; those without layers may stand anywhere. At most one with the embedding, and one with the head.</param>
    /// <exception cref="ArgumentException">There are none, they are of different shapes, layers are missing between them, or something is there twice. All are left as they were.</exception>
    public static ModelWeights Join(params IReadOnlyList<ModelWeights> parts)
    {
        ArgumentNullException.ThrowIfNull(parts);
        if (parts.Count == 0)
        {
            throw new ArgumentException("Expected at least one part.", nameof(parts));
        }

        ModelWeights[] some = [.. parts.Where(part => part.Layers.Count > 0)];
        LayerRange layers = some.Length > 0 ? new LayerRange(some[0].Layers.Start, some[^1].Layers.End) : default;
        for (int i = 1; i < some.Length; i++)
        {
            if (some[i].Layers.Start != some[i - 1].Layers.End)
            {
                throw new ArgumentException($"Layers {some[i].Layers} do not follow {some[i - 1].Layers}.", nameof(parts));
            }
        }

        if (parts.Any(part => part.Shape != parts[0].Shape || part.IsDisposed) || parts.Count(part => part.HasEmbedding) > 1 || parts.Count(part => part.HasHead) > 1)
        {
            throw new ArgumentException("Expected parts of one model, none disposed, one at most with the embedding and one with the head.", nameof(parts));
        }

        ModelWeights? end = parts.FirstOrDefault(part => part.HasHead);
        WeightMatrix? embedding = parts.FirstOrDefault(part => part.HasEmbedding)?.Embedding, head = end?.Head;
        WeightArena[] arenas = [.. parts.SelectMany(part => part._owned).OfType<WeightArena>()];
        var whole = new ModelWeights(
            parts[0].Shape, layers, [.. some.SelectMany(part => part._layers)], embedding, end?.FinalNorm, parts[0].Shape.TiedHead && embedding is not null && head is not null ? embedding : head, some.Select(part => part.RopeFactors).FirstOrDefault());
        whole._owned.AddRange(arenas);
        foreach (ModelWeights part in parts)
        {
            part._owned.RemoveAll(whole._owned.Contains);
            part.Dispose();
        }

        return whole;
    }

    private static long SizeOf(IDisposable part) => part is WeightMatrix matrix ? matrix.Bytes : ((AlignedBuffer)part).Bytes;
}
