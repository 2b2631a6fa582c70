using System.Buffers;
using E2LLM.Gguf;
using E2LLM.Kernels.MatMul;
using E2LLM.Kernels.Quantization;

namespace E2LLM.Weights;

/// <summary>
/// One matrix, repacked for the kernels. Owns its memory; disposed by its <see cref="ModelWeights"/>. Immutable after loading; thread-safe to read.
/// </summary>
internal sealed unsafe class WeightMatrix : IDisposable
{
    // Cancellation is looked at between pieces of about this size.
    private const long PieceBytes = 4 << 20;

    private readonly AlignedBuffer _packed;

    private WeightMatrix(TensorType type, int rows, int columns)
    {
        Type = type;
        Rows = rows;
        Columns = columns;
        _packed = new AlignedBuffer(PackedMatrix.MatrixBytes(type, rows, columns));
    }

    /// <summary>Element type, as stored.</summary>
    internal TensorType Type { get; }

    /// <summary>Outputs.</summary>
    internal int Rows { get; }

    /// <summary>Inputs.</summary>
    internal int Columns { get; }

    /// <summary>Bytes held.</summary>
    internal long Bytes => _packed.Bytes;

    /// <summary>Which form of the activations <see cref="Multiply"/> wants.</summary>
    internal ActivationForm Form => PackedMatrix.FormOf(Type);

    /// <summary>Reads and repacks a tensor; its pages of the file are let go afterwards.</summary>
    internal static WeightMatrix Load(GgufFile file, GgufTensor tensor, CancellationToken ct)
    {
        using GgufTensorView view = file.OpenTensor(tensor);
        return Load(view, ct);
    }

    /// <summary>Repacks a tensor whose bytes are at hand.</summary>
    internal static WeightMatrix Load(GgufTensorView view, CancellationToken ct)
    {
        GgufTensor tensor = view.Tensor;
        var matrix = new WeightMatrix(tensor.Type, checked((int)tensor.RowCount), checked((int)tensor.RowLength));
        try
        {
            int groupRows = PackedMatrix.GroupRows(tensor.Type);
            long groupBytes = PackedMatrix.GroupBytes(tensor.Type, matrix.Columns), sinceLook = 0;
            for (int first = 0; first < matrix.Rows; first += groupRows)
            {
                int count = Math.Min(groupRows, matrix.Rows - first);
                fixed (byte* rows = view.Rows(first, count))
                {
                    PackedMatrix.PackGroup(
                        tensor.Type, rows, tensor.RowBytes, count, matrix.Columns, matrix._packed.Pointer + (first / groupRows * groupBytes));
                }

                sinceLook += groupBytes;
                if (sinceLook >= PieceBytes)
                {
                    sinceLook = 0;
                    ct.ThrowIfCancellationRequested();
                }
            }

            return matrix;
        }
        catch
        {
            matrix.Dispose();
            throw;
        }
    }

    /// <summary>Rows <c>[firstRow, endRow)</c> of the product; see <see cref="PackedMatrix.Multiply"/>.</summary>
    internal void Multiply(int firstRow, int endRow, Activations x, int tokens, float* y, nint yStride) =>
        PackedMatrix.Multiply(Type, _packed.Pointer, Rows, Columns, firstRow, endRow, x, tokens, y, yStride);

    /// <summary>One row as floats, bit-equal to the stored row's.</summary>
    internal void ReadRow(int row, float* destination)
    {
        int groupRows = PackedMatrix.GroupRows(Type);
        int rowBytes = checked((int)TensorTypeGeometry.RowBytes(Type, Columns));
        byte[] stored = ArrayPool<byte>.Shared.Rent(rowBytes);
        fixed (byte* pointer = stored)
        {
            byte* group = _packed.Pointer + (row / groupRows * PackedMatrix.GroupBytes(Type, Columns));
            PackedMatrix.UnpackRow(Type, group, row % groupRows, Columns, pointer, rowBytes);
            DequantizeRow.Run(Type, pointer, Columns, destination);
        }

        ArrayPool<byte>.Shared.Return(stored);
    }

    public void Dispose() => _packed.Dispose();
}
