using System.Buffers;
using E2LLM.Gguf;
using E2LLM.Kernels.MatMul;
using E2LLM.Kernels.Quantization;

namespace E2LLM.Weights;

/// <summary>
/// One matrix, repacked for the kernels. Owns its memory, unless it is an arena's; disposed by its <see cref="ModelWeights"/>. Immutable after loading; thread-safe to read.
/// </summary>
internal sealed unsafe class WeightMatrix : IDisposable
{
    // What a thread packs at a time; cancellation is looked at in between.
    private const long PieceBytes = 1 << 20;

    private readonly AlignedBuffer _packed;

    private WeightMatrix(TensorType type, int rows, int columns, AlignedBuffer packed)
    {
        Type = type;
        Rows = rows;
        Columns = columns;
        _packed = packed;
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
    internal static WeightMatrix Load(GgufFile file, GgufTensor tensor, WeightArena arena, CancellationToken ct)
    {
        using GgufTensorView view = file.OpenTensor(tensor);
        return Load(view, arena, ct);
    }

    /// <summary>Repacks a tensor whose bytes are at hand, into memory of the arena or, without one, of its own.</summary>
    internal static WeightMatrix Load(GgufTensorView view, WeightArena? arena, CancellationToken ct)
    {
        GgufTensor tensor = view.Tensor;
        int rows = checked((int)tensor.RowCount), columns = checked((int)tensor.RowLength);
        long bytes = PackedMatrix.MatrixBytes(tensor.Type, rows, columns);
        var matrix = new WeightMatrix(tensor.Type, rows, columns, arena?.Take(bytes) ?? new AlignedBuffer(bytes));
        try
        {
            long groupBytes = Math.Max(1, PackedMatrix.GroupBytes(tensor.Type, matrix.Columns));
            int groups = (matrix.Rows + PackedMatrix.GroupRows(tensor.Type) - 1) / PackedMatrix.GroupRows(tensor.Type);
            int pieceGroups = (int)Math.Clamp(PieceBytes / groupBytes, 1, Math.Max(1, groups)), pieces = (groups + pieceGroups - 1) / pieceGroups;

            // Groups are independent; the calling thread takes part, so a busy thread pool only makes this slower.
            Parallel.For(0, pieces, new ParallelOptions { CancellationToken = ct, MaxDegreeOfParallelism = Environment.ProcessorCount }, piece =>
            {
                for (int group = piece * pieceGroups; group < Math.Min((piece + 1) * pieceGroups, groups); group++)
                {
                    matrix.PackGroup(view, tensor, group);
                }
            });
            return matrix;
        }
        catch
        {
            matrix.Dispose();
            throw;
        }
    }

    /// <summary>The same in memory of its own.</summary>
    internal WeightMatrix Copy() => new(Type, Rows, Columns, _packed.Copy());

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

    private void PackGroup(GgufTensorView view, GgufTensor tensor, int group)
    {
        int groupRows = PackedMatrix.GroupRows(tensor.Type), first = group * groupRows, count = Math.Min(groupRows, Rows - first);
        fixed (byte* rows = view.Rows(first, count))
        {
            PackedMatrix.PackGroup(tensor.Type, rows, tensor.RowBytes, count, Columns, _packed.Pointer + (group * PackedMatrix.GroupBytes(tensor.Type, Columns)));
        }
    }
}
