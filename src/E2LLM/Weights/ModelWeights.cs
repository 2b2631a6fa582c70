using E2LLM.Gguf;

namespace E2LLM.Weights;

/// <summary>
/// The weights of a range of layers, with the embedding and the head where asked for, repacked into native memory. Owns that memory; the
/// file may be closed after loading. Immutable; several executors may share it. Dispose it after them.
/// </summary>
public sealed partial class ModelWeights : IDisposable
{
    private readonly List<IDisposable> _owned = [];
    private readonly LayerWeights[] _layers;
    private readonly IProgress<LoadingProgress>? _progress;

    private ModelWeights(
        ITensorSource source, WeightArena? arena, WeightsMemory memory, ModelShape shape, LayerRange layers, bool embedding, bool head, IProgress<LoadingProgress>? progress, CancellationToken cancellationToken)
    {
        _progress = progress;
        Shape = shape;
        Layers = layers;
        Memory = memory;
        _layers = new LayerWeights[layers.Count];
        if (arena is not null)
        {
            _owned.Add(arena);
        }

        try
        {
            if (embedding)
            {
                Embedding = Matrix(source, TensorRequests.Embedding(shape), cancellationToken);
            }

            for (int i = 0; i < layers.Count; i++)
            {
                _layers[i] = LoadLayer(source, layers.Start + i, cancellationToken);
            }

            if (layers.Count > 0 && shape.HasRopeFrequencyFactors)
            {
                RopeFactors = Vector(source, TensorRequests.RopeFactors(shape));
            }

            if (head)
            {
                FinalNorm = Vector(source, TensorRequests.FinalNorm(shape));
                Head = shape.TiedHead && Embedding is not null ? Embedding : Matrix(source, TensorRequests.Head(shape), cancellationToken);
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

    /// <summary>Loads and repacks layers of a file: the embedding with the first of the model, final norm and head with the last.</summary>
    /// <param name="path">A GGUF file.</param>
    /// <param name="layers">Which layers; null means all that the file holds.</param>
    /// <param name="progress">Told after each tensor.</param>
    /// <param name="cancellationToken">Looked at between pieces of a tensor.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="layers"/> goes beyond the model.</exception>
    /// <exception cref="GgufFormatException">The file is broken, or a tensor is missing.</exception>
    /// <exception cref="NotSupportedException">The model is not supported. Found before anything is loaded.</exception>
    /// <exception cref="IOException">The file cannot be read.</exception>
    public static ModelWeights Load(string path, LayerRange? layers = null, IProgress<LoadingProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        using GgufFile file = GgufFile.Open(path);
        return Load(file, layers, progress, cancellationToken);
    }

    /// <summary>The same, with what other machines compare before they work with this one.</summary>
    /// <param name="path">A GGUF file.</param>
    /// <param name="layers">Which layers; null means all that the file holds.</param>
    /// <param name="identity">Identity of the whole model.</param>
    /// <param name="progress">Told after each tensor.</param>
    /// <param name="cancellationToken">Looked at between pieces of a tensor.</param>
    /// <inheritdoc cref="Load(string, LayerRange?, IProgress{LoadingProgress}?, CancellationToken)"/>
    public static ModelWeights Load(string path, LayerRange? layers, out ModelIdentity identity, IProgress<LoadingProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        using GgufFile file = GgufFile.Open(path);
        identity = ModelIdentityReader.Read(file);
        return Load(file, layers, progress, cancellationToken);
    }

    /// <summary>Loads and repacks the tensors of some layers; no other tensor of the file is touched.</summary>
    /// <param name="file">An open file.</param>
    /// <param name="shape">The model's numbers, as <see cref="ModelShapeReader"/> reads them from the same file.</param>
    /// <param name="layers">Which layers, possibly none.</param>
    /// <param name="embedding">Whether to load the embedding matrix: the first stage needs it.</param>
    /// <param name="head">Whether to load the final norm and the head: the last stage needs them.</param>
    /// <param name="progress">Told after each tensor.</param>
    /// <param name="cancellationToken">Looked at between pieces of a tensor.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="layers"/> goes beyond the model.</exception>
    /// <exception cref="GgufFormatException">A tensor is missing or has a shape that the metadata contradicts.</exception>
    /// <exception cref="NotSupportedException">A tensor's type is not supported. Found before anything is loaded.</exception>
    public static ModelWeights Load(
        GgufFile file, ModelShape shape, LayerRange layers, bool embedding, bool head, IProgress<LoadingProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        WeightsMemory memory = EstimateMemory(file, shape, layers, embedding, head);
        var arena = new WeightArena(memory.TotalBytes);
        return new ModelWeights(new FileTensors(file, arena), arena, memory, shape, layers, embedding, head, progress, cancellationToken);
    }

    /// <summary>
    /// Loads what a stream holds, a slice (<see cref="GgufSlicer"/>) or a whole model, front to back, so that a device needs no file: beyond the weights themselves only the largest tensor is in
    /// memory at once. Of a slice the checksum is verified.
    /// </summary>
    /// <param name="stream">Need not seek; stays open.</param>
    /// <param name="identity">Identity of the whole model, which a slice brings along.</param>
    /// <param name="fileBytes">Bytes of the file, where the stream goes on behind it: it is read to its last byte, and no byte more. Null: up to the end of the stream may be read.</param>
    /// <param name="limits">Caps on the header; null means <see cref="GgufLimits.Untrusted"/>.</param>
    /// <param name="progress">Told after each tensor.</param>
    /// <param name="cancellationToken">Looked at between pieces.</param>
    /// <exception cref="GgufFormatException">The bytes are no sound model, end early, or a slice's checksum does not match; the field or tensor is named.</exception>
    /// <exception cref="NotSupportedException">The model is not supported. Found before any tensor is read.</exception>
    public static ModelWeights Load(
        Stream stream, out ModelIdentity identity, long? fileBytes = null, GgufLimits? limits = null, IProgress<LoadingProgress>? progress = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(stream);
        limits ??= GgufLimits.Untrusted;
        limits.Validate();
        GgufStream gguf = GgufStream.Open(stream, fileBytes ?? long.MaxValue, limits);
        ModelShape shape = ModelShapeReader.Read(gguf.Header);
        GgufSlice? slice = GgufSlice.Read(gguf.Header.Metadata);
        LayerRange layers = slice?.Layers ?? new LayerRange(0, shape.LayerCount);
        bool embedding = slice?.HasEmbedding ?? true, head = slice?.HasHead ?? true;
        WeightsMemory memory = EstimateMemory(gguf.Header, shape, layers, embedding, head);
        using var tensors = new StreamTensors(gguf, cancellationToken);
        identity = gguf.Identity();
        return new ModelWeights(tensors, arena: null, memory, shape, layers, embedding, head, progress, cancellationToken);
    }

    /// <summary>Says what loading from a file would allocate, and checks all it would check, without reading a tensor.</summary>
    /// <inheritdoc cref="Load(GgufFile, ModelShape, LayerRange, bool, bool, IProgress{LoadingProgress}?, CancellationToken)"/>
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

    private static ModelWeights Load(GgufFile file, LayerRange? layers, IProgress<LoadingProgress>? progress, CancellationToken cancellationToken)
    {
        ModelShape shape = ModelShapeReader.Read(file);
        GgufSlice? slice = GgufSlice.Read(file.Metadata);
        LayerRange range = layers ?? slice?.Layers ?? new LayerRange(0, shape.LayerCount);
        bool whole = layers is null && slice is not null;
        return Load(file, shape, range, whole ? slice!.HasEmbedding : range.Start == 0, whole ? slice!.HasHead : range.End == shape.LayerCount, progress, cancellationToken);
    }

    private static long Checked(GgufFile file, TensorRequest request)
    {
        _ = request.Find(file);
        return request.LoadedBytes(file);
    }

    private LayerWeights LoadLayer(ITensorSource source, int layer, CancellationToken cancellationToken) => new()
    {
        AttentionNorm = Vector(source, TensorRequests.AttentionNorm(Shape, layer)),
        Query = Matrix(source, TensorRequests.Query(Shape, layer), cancellationToken),
        Key = Matrix(source, TensorRequests.Key(Shape, layer), cancellationToken),
        Value = Matrix(source, TensorRequests.Value(Shape, layer), cancellationToken),
        QueryBias = Shape.HasQkvBias ? Vector(source, TensorRequests.QueryBias(Shape, layer)) : null,
        KeyBias = Shape.HasQkvBias ? Vector(source, TensorRequests.KeyBias(Shape, layer)) : null,
        ValueBias = Shape.HasQkvBias ? Vector(source, TensorRequests.ValueBias(Shape, layer)) : null,
        QueryNorm = Shape.HasQkNorm ? Vector(source, TensorRequests.QueryNorm(Shape, layer)) : null,
        KeyNorm = Shape.HasQkNorm ? Vector(source, TensorRequests.KeyNorm(Shape, layer)) : null,
        AttentionOutput = Matrix(source, TensorRequests.AttentionOutput(Shape, layer), cancellationToken),
        FeedForwardNorm = Vector(source, TensorRequests.FeedForwardNorm(Shape, layer)),
        Gate = Matrix(source, TensorRequests.Gate(Shape, layer), cancellationToken),
        Up = Matrix(source, TensorRequests.Up(Shape, layer), cancellationToken),
        Down = Matrix(source, TensorRequests.Down(Shape, layer), cancellationToken),
    };

    private WeightMatrix Matrix(ITensorSource source, TensorRequest request, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        WeightMatrix matrix = source.Matrix(request, cancellationToken);
        _owned.Add(matrix);
        Count(matrix.Bytes);
        return matrix;
    }

    private AlignedBuffer Vector(ITensorSource source, TensorRequest request)
    {
        AlignedBuffer buffer = source.Vector(request);
        _owned.Add(buffer);
        Count(buffer.Bytes);
        return buffer;
    }

    private void Count(long bytes)
    {
        AllocatedBytes += bytes;
        _progress?.Report(new LoadingProgress(AllocatedBytes, Memory.TotalBytes));
    }
}
