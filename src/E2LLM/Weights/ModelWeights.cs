using E2LLM.Gguf;

namespace E2LLM.Weights;

/// <summary>
/// The weights of a range of layers, with the embedding and the head where asked for, repacked into native memory. Owns that memory; the
/// file may be closed after loading. Immutable; several executors may share it. Dispose it after them.
/// </summary>
public sealed unsafe class ModelWeights : IDisposable
{
    private readonly List<IDisposable> _owned = [];
    private readonly LayerWeights[] _layers;

    private ModelWeights(GgufFile file, ModelShape shape, LayerRange layers, bool embedding, bool head, CancellationToken ct)
    {
        Shape = shape;
        Layers = layers;
        Memory = EstimateMemory(file, shape, layers, embedding, head);
        _layers = new LayerWeights[layers.Count];
        try
        {
            if (embedding)
            {
                Embedding = Matrix(file, TensorRequests.Embedding(shape), ct);
            }

            for (int i = 0; i < layers.Count; i++)
            {
                _layers[i] = LoadLayer(file, layers.Start + i, ct);
            }

            if (layers.Count > 0 && shape.HasRopeFrequencyFactors)
            {
                RopeFactors = Vector(file, TensorRequests.RopeFactors(shape));
            }

            if (head)
            {
                FinalNorm = Vector(file, TensorRequests.FinalNorm(shape));
                Head = shape.TiedHead && Embedding is not null ? Embedding : Matrix(file, TensorRequests.Head(shape), ct);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The model these weights are of.</summary>
    public ModelShape Shape { get; }

    /// <summary>The layers held.</summary>
    public LayerRange Layers { get; }

    /// <summary>Whether the embedding matrix is held.</summary>
    public bool HasEmbedding => Embedding is not null;

    /// <summary>Whether the final norm and the head are held.</summary>
    public bool HasHead => Head is not null;

    /// <summary>Bytes held; what <see cref="EstimateMemory"/> had said.</summary>
    public WeightsMemory Memory { get; }

    internal WeightMatrix? Embedding { get; }

    internal AlignedBuffer? FinalNorm { get; }

    internal WeightMatrix? Head { get; }

    internal AlignedBuffer? RopeFactors { get; }

    internal bool IsDisposed { get; private set; }

    /// <summary>Bytes really allocated: for the test that <see cref="EstimateMemory"/> told the truth.</summary>
    internal long AllocatedBytes { get; private set; }

    /// <summary>Loads and repacks the tensors of some layers; no other tensor of the file is touched.</summary>
    /// <param name="file">An open file.</param>
    /// <param name="shape">The model's numbers, as <see cref="ModelShapeReader"/> reads them from the same file.</param>
    /// <param name="layers">Which layers, possibly none.</param>
    /// <param name="embedding">Whether to load the embedding matrix: the first stage needs it.</param>
    /// <param name="head">Whether to load the final norm and the head: the last stage needs them.</param>
    /// <param name="ct">Looked at between pieces of a tensor.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="layers"/> goes beyond the model.</exception>
    /// <exception cref="GgufFormatException">A tensor is missing or has a shape that the metadata contradicts.</exception>
    /// <exception cref="NotSupportedException">A tensor's type is not supported. Found before anything is loaded.</exception>
    public static ModelWeights Load(GgufFile file, ModelShape shape, LayerRange layers, bool embedding, bool head, CancellationToken ct = default) =>
        new(file, shape, layers, embedding, head, ct);

    /// <summary>Says what <see cref="Load"/> would allocate, and checks all it would check, without reading a tensor.</summary>
    /// <inheritdoc cref="Load"/>
    public static WeightsMemory EstimateMemory(GgufFile file, ModelShape shape, LayerRange layers, bool embedding, bool head)
    {
        ArgumentNullException.ThrowIfNull(file);
        ArgumentNullException.ThrowIfNull(shape);
        if (layers.End > shape.LayerCount)
        {
            throw new ArgumentOutOfRangeException(nameof(layers), layers, $"The model has {shape.LayerCount} layers.");
        }

        long embeddingBytes = 0, layerBytes = 0, headBytes = 0;
        if (embedding)
        {
            embeddingBytes = Checked(file, TensorRequests.Embedding(shape));
        }

        for (int layer = layers.Start; layer < layers.End; layer++)
        {
            foreach (TensorRequest request in TensorRequests.Layer(shape, layer))
            {
                layerBytes = checked(layerBytes + Checked(file, request));
            }
        }

        if (layers.Count > 0 && shape.HasRopeFrequencyFactors)
        {
            layerBytes += Checked(file, TensorRequests.RopeFactors(shape));
        }

        if (head)
        {
            headBytes = Checked(file, TensorRequests.FinalNorm(shape));
            if (!(shape.TiedHead && embedding))
            {
                headBytes += Checked(file, TensorRequests.Head(shape));
            }
        }

        return new WeightsMemory(embeddingBytes, layerBytes, headBytes);
    }

    /// <summary>Frees the memory. No executor may use the weights any more.</summary>
    public void Dispose()
    {
        IsDisposed = true;
        foreach (IDisposable owned in _owned)
        {
            owned.Dispose();
        }

        _owned.Clear();
    }

    /// <summary>Weights of an absolute layer within <see cref="Layers"/>.</summary>
    internal LayerWeights Layer(int layer) => _layers[layer - Layers.Start];

    private static long Checked(GgufFile file, TensorRequest request)
    {
        _ = request.Find(file);
        return request.LoadedBytes(file);
    }

    private LayerWeights LoadLayer(GgufFile file, int layer, CancellationToken ct) => new()
    {
        AttentionNorm = Vector(file, TensorRequests.AttentionNorm(Shape, layer)),
        Query = Matrix(file, TensorRequests.Query(Shape, layer), ct),
        Key = Matrix(file, TensorRequests.Key(Shape, layer), ct),
        Value = Matrix(file, TensorRequests.Value(Shape, layer), ct),
        QueryBias = Shape.HasQkvBias ? Vector(file, TensorRequests.QueryBias(Shape, layer)) : null,
        KeyBias = Shape.HasQkvBias ? Vector(file, TensorRequests.KeyBias(Shape, layer)) : null,
        ValueBias = Shape.HasQkvBias ? Vector(file, TensorRequests.ValueBias(Shape, layer)) : null,
        QueryNorm = Shape.HasQkNorm ? Vector(file, TensorRequests.QueryNorm(Shape, layer)) : null,
        KeyNorm = Shape.HasQkNorm ? Vector(file, TensorRequests.KeyNorm(Shape, layer)) : null,
        AttentionOutput = Matrix(file, TensorRequests.AttentionOutput(Shape, layer), ct),
        FeedForwardNorm = Vector(file, TensorRequests.FeedForwardNorm(Shape, layer)),
        Gate = Matrix(file, TensorRequests.Gate(Shape, layer), ct),
        Up = Matrix(file, TensorRequests.Up(Shape, layer), ct),
        Down = Matrix(file, TensorRequests.Down(Shape, layer), ct),
    };

    private WeightMatrix Matrix(GgufFile file, TensorRequest request, CancellationToken ct)
    {
        ct.ThrowIfCancellationRequested();
        WeightMatrix matrix = WeightMatrix.Load(file, request.Find(file), ct);
        _owned.Add(matrix);
        AllocatedBytes += matrix.Bytes;
        return matrix;
    }

    private AlignedBuffer Vector(GgufFile file, TensorRequest request)
    {
        GgufTensor tensor = request.Find(file);
        var buffer = new AlignedBuffer((long)request.Columns * sizeof(float));
        _owned.Add(buffer);
        AllocatedBytes += buffer.Bytes;
        using GgufTensorView view = file.OpenTensor(tensor);
        fixed (byte* stored = view.Rows(0, 1))
        {
            Kernels.Quantization.DequantizeRow.Run(tensor.Type, stored, request.Columns, buffer.Floats);
        }

        return buffer;
    }
}
