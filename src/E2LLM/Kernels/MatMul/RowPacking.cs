using E2LLM.Kernels.Lanes;

namespace E2LLM.Kernels.MatMul;

/// <summary>The layout and the product of one element type. Stateless singletons; <see cref="PackedMatrix"/> chooses among them.</summary>
internal abstract unsafe class RowPacking
{
    /// <summary>Which form of the activations the product takes.</summary>
    internal abstract ActivationForm Form { get; }

    /// <summary>Rows per group.</summary>
    internal abstract int GroupRows { get; }

    /// <summary>Bytes of one group.</summary>
    internal abstract long GroupBytes(int columns);

    /// <summary>Packs one group of stored rows into zeroed memory.</summary>
    internal abstract void PackGroup(byte* rows, long rowBytes, int rowCount, int columns, byte* packed);

    /// <summary>Gives one stored row back, bit for bit.</summary>
    internal abstract void UnpackRow(byte* group, int row, int columns, byte* stored, long rowBytes);

    /// <summary>Multiplies the rows of groups <c>[firstGroup, endGroup)</c>; see <see cref="PackedMatrix.Multiply"/>.</summary>
    internal abstract void Multiply(byte* weights, int rows, int columns, int firstGroup, int endGroup, Activations x, int tokens, float* y, nint yStride);
}

/// <summary>F32 and BF16: <see cref="PackedFloatRows"/>.</summary>
internal sealed unsafe class FloatRowPacking(TensorType type, int elementBytes) : RowPacking
{
    internal override ActivationForm Form => ActivationForm.Single;

    internal override int GroupRows => PackedFloatRows.GroupRows;

    internal override long GroupBytes(int columns) => (long)columns * PackedFloatRows.GroupRows * elementBytes;

    internal override void PackGroup(byte* rows, long rowBytes, int rowCount, int columns, byte* packed) =>
        PackedFloatRows.PackGroup(rows, rowBytes, rowCount, columns, elementBytes, packed);

    internal override void UnpackRow(byte* group, int row, int columns, byte* stored, long rowBytes) =>
        PackedFloatRows.UnpackRow(group, row, columns, elementBytes, stored);

    internal override void Multiply(byte* weights, int rows, int columns, int firstGroup, int endGroup, Activations x, int tokens, float* y, nint yStride) =>
        MatMulFloat.Multiply(type, weights, rows, columns, firstGroup, endGroup, x.Single, tokens, y, yStride);
}

/// <summary>F16: <see cref="PackedHalfRows"/>.</summary>
internal sealed unsafe class HalfRowPacking : RowPacking
{
    internal override ActivationForm Form => ActivationForm.Single;

    internal override int GroupRows => PackedFloatRows.GroupRows;

    internal override long GroupBytes(int columns) => PackedHalfRows.GroupBytes(columns);

    internal override void PackGroup(byte* rows, long rowBytes, int rowCount, int columns, byte* packed) =>
        PackedHalfRows.PackGroup(rows, rowBytes, rowCount, columns, packed);

    internal override void UnpackRow(byte* group, int row, int columns, byte* stored, long rowBytes) =>
        PackedHalfRows.UnpackRow(group, row, columns, (ushort*)stored);

    internal override void Multiply(byte* weights, int rows, int columns, int firstGroup, int endGroup, Activations x, int tokens, float* y, nint yStride) =>
        MatMulFloat.Multiply(TensorType.F16, weights, rows, columns, firstGroup, endGroup, x.Single, tokens, y, yStride);
}

/// <summary>Types with one scale per 32 columns: <see cref="PackedQuantizedRows"/>.</summary>
internal sealed unsafe class QuantizedRowPacking<TLayout, TFormat> : RowPacking
    where TLayout : IQuantLayout
    where TFormat : IQuantizedFormat<TLayout>
{
    internal override ActivationForm Form => ActivationForm.Blocks32;

    internal override int GroupRows => PackedQuantizedRows.GroupRows;

    internal override long GroupBytes(int columns) => PackedQuantizedRows.GroupBytes<TLayout, TFormat>(columns);

    internal override void PackGroup(byte* rows, long rowBytes, int rowCount, int columns, byte* packed) =>
        PackedQuantizedRows.PackGroup<TLayout, TFormat>(rows, rowBytes, rowCount, columns, packed);

    internal override void UnpackRow(byte* group, int row, int columns, byte* stored, long rowBytes) =>
        PackedQuantizedRows.UnpackRow<TLayout, TFormat>(group, row, columns, stored, rowBytes);

    internal override void Multiply(byte* weights, int rows, int columns, int firstGroup, int endGroup, Activations x, int tokens, float* y, nint yStride) =>
        MatMulQuantized.Multiply<TLayout, TFormat>(new RowProduct<QuantizedActivations>(weights, rows, columns, firstGroup, endGroup, x.Blocks32, tokens, y, yStride));
}

/// <summary>K types: <see cref="PackedSuperBlockRows"/>.</summary>
internal sealed unsafe class SuperBlockRowPacking<TLayout, TFormat> : RowPacking
    where TLayout : IQuantLayout
    where TFormat : ISuperBlockFormat<TLayout>
{
    internal override ActivationForm Form => ActivationForm.Blocks256;

    internal override int GroupRows => PackedQuantizedRows.GroupRows;

    internal override long GroupBytes(int columns) => PackedSuperBlockRows.GroupBytes<TLayout, TFormat>(columns);

    internal override void PackGroup(byte* rows, long rowBytes, int rowCount, int columns, byte* packed) =>
        PackedSuperBlockRows.PackGroup<TLayout, TFormat>(rows, rowBytes, rowCount, columns, packed);

    internal override void UnpackRow(byte* group, int row, int columns, byte* stored, long rowBytes) =>
        PackedSuperBlockRows.UnpackRow<TLayout, TFormat>(group, row, columns, stored, rowBytes);

    internal override void Multiply(byte* weights, int rows, int columns, int firstGroup, int endGroup, Activations x, int tokens, float* y, nint yStride) =>
        MatMulSuperBlock.Multiply<TLayout, TFormat>(new RowProduct<SuperBlockActivations>(weights, rows, columns, firstGroup, endGroup, x.Blocks256, tokens, y, yStride));
}
