using E2LLM.Gguf;
using E2LLM.Kernels.MatMul;

namespace E2LLM.Weights;

/// <summary>A tensor that is wanted: its name and the shape that the model's numbers give it.</summary>
/// <param name="Name">Name in the file.</param>
/// <param name="Columns">Expected row length.</param>
/// <param name="Rows">Expected rows; 1 for a vector.</param>
internal readonly record struct TensorRequest(string Name, int Columns, int Rows = 1)
{
    /// <summary>Finds the tensor and checks shape and type, so that loading can only fail for the file's sake.</summary>
    /// <exception cref="GgufFormatException">It is missing or has another shape.</exception>
    /// <exception cref="NotSupportedException">Its type is not supported.</exception>
    internal GgufTensor Find(GgufFile file)
    {
        if (!file.TryGetTensor(Name, out GgufTensor? tensor))
        {
            throw new GgufFormatException(0, Name, "the tensor is missing from the file.");
        }

        if (tensor.RowLength != Columns || tensor.RowCount != Rows)
        {
            throw new GgufFormatException(
                tensor.Offset, Name, $"expected {Columns} columns x {Rows} rows from the model's metadata, found {tensor.RowLength} x {tensor.RowCount}.");
        }

        bool supported = Rows == 1 ? tensor.Type is TensorType.F32 or TensorType.F16 or TensorType.BF16 : PackedMatrix.IsSupported(tensor.Type);
        if (!supported)
        {
            string known = Rows == 1 ? "F32, F16, BF16" : string.Join(", ", Enum.GetValues<TensorType>().Where(PackedMatrix.IsSupported));
            throw new NotSupportedException($"Tensor '{Name}' has type {tensor.TypeName}, which is not supported here. Supported: {known}.");
        }

        return tensor;
    }

    /// <summary>Bytes that it takes once loaded.</summary>
    internal long LoadedBytes(GgufFile file) => AlignedBuffer.RoundUp(
        Rows == 1 ? (long)Columns * sizeof(float) : PackedMatrix.MatrixBytes(Find(file).Type, Rows, Columns));
}
