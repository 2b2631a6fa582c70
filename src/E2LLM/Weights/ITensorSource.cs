using E2LLM.Gguf;
using E2LLM.Kernels.Quantization;

namespace E2LLM.Weights;

/// <summary>Where the tensors of <see cref="ModelWeights"/> come from: a file that can be read anywhere, or a stream that was read through.</summary>
internal interface ITensorSource
{
    /// <summary>A repacked matrix; the caller owns it.</summary>
    WeightMatrix Matrix(TensorRequest request, CancellationToken ct);

    /// <summary>A vector as floats; the caller owns it.</summary>
    AlignedBuffer Vector(TensorRequest request);
}

/// <summary>Tensors of an open file, each read when it is asked for.</summary>
internal sealed unsafe class FileTensors(GgufFile file, WeightArena arena) : ITensorSource
{
    public WeightMatrix Matrix(TensorRequest request, CancellationToken ct) => WeightMatrix.Load(file, request.Find(file), arena, ct);

    public AlignedBuffer Vector(TensorRequest request)
    {
        using GgufTensorView view = file.OpenTensor(request.Find(file));
        return Vector(view, arena);
    }

    internal static AlignedBuffer Vector(GgufTensorView view, WeightArena? arena)
    {
        int columns = checked((int)view.Tensor.RowLength);
        AlignedBuffer buffer = arena?.Take((long)columns * sizeof(float)) ?? new AlignedBuffer((long)columns * sizeof(float));
        fixed (byte* stored = view.Rows(0, 1))
        {
            DequantizeRow.Run(view.Tensor.Type, stored, columns, buffer.Floats);
        }

        return buffer;
    }
}

/// <summary>Tensors that came over a stream in the stream's order and wait, repacked, until they are asked for. Owns those that nobody asked for.</summary>
internal sealed class StreamTensors : ITensorSource, IDisposable
{
    private readonly Dictionary<string, IDisposable> _loaded = new(StringComparer.Ordinal);

    /// <summary>Reads the whole stream; the header was checked before. Memory is taken tensor by tensor, as they come: the header alone is not believed.</summary>
    public StreamTensors(GgufStream stream, CancellationToken ct)
    {
        try
        {
            stream.ReadTensors(view => _loaded[view.Tensor.Name] = view.Tensor.RowCount == 1 ? FileTensors.Vector(view, null) : WeightMatrix.Load(view, null, ct), ct);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public WeightMatrix Matrix(TensorRequest request, CancellationToken ct) => Take<WeightMatrix>(request);

    public AlignedBuffer Vector(TensorRequest request) => Take<AlignedBuffer>(request);

    public void Dispose()
    {
        foreach (IDisposable tensor in _loaded.Values)
        {
            tensor.Dispose();
        }

        _loaded.Clear();
    }

    private T Take<T>(TensorRequest request)
        where T : class, IDisposable => _loaded.TryGetValue(request.Name, out IDisposable? tensor) && _loaded.Remove(request.Name) && tensor is T found
        ? found
        : throw new GgufFormatException(0, request.Name, "the tensor is missing from the stream.");
}
